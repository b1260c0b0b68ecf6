"""The calls of a sign-in: a code becomes tokens, tokens are renewed. Through the guarded client alone."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from authlib.common.urls import add_params_to_uri  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]

from connectors.base import Access
from connectors.errors import AuthError, ConnectorError, RateLimited, Unavailable
from connectors.http import WAIT_UNSAID, Answer, Http, Limits
from connectors.signin import SignIn

_FORM = {"content-type": "application/x-www-form-urlencoded"}
LIFE = 3600  # seconds of an access token, where the system does not say


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are to the provider."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    access: str = field(repr=False)
    refresh: str = field(repr=False)  # empty where none was given: the old one stays good
    expires_in: float
    scopes: frozenset[str]


class GrantEnded(AuthError):
    """The system takes the sign-in no longer: only a new one helps."""

    code = "grant_ended"


def consent_url(
    sign_in: SignIn, client: Client, redirect_uri: str, state: str, verifier: str, endpoint: str | None
) -> str:
    """Where a browser is sent to."""
    host, path = sign_in.url(sign_in.authorize, endpoint)
    asked = {
        "client_id": client.id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": " ".join(sign_in.scopes),
        "state": state,
        "code_challenge": create_s256_code_challenge(verifier),
        "code_challenge_method": "S256",
        **sign_in.parameters,
    }
    return str(add_params_to_uri(host + path, list(asked.items())))


def exchange(
    sign_in: SignIn,
    client: Client,
    access: Access,
    endpoint: str | None,
    *,
    code: str,
    redirect_uri: str,
    verifier: str,
) -> Tokens:
    """The tokens for a code. Raises ConnectorError."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    return _asked(sign_in, client, access, endpoint, form, secrets=(code, verifier))


def refresh(
    sign_in: SignIn, client: Client, access: Access, endpoint: str | None, refresh_token: str
) -> Tokens:
    """Fresh tokens. Raises GrantEnded, and ConnectorError where nothing is known of the old ones."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return _asked(sign_in, client, access, endpoint, form, secrets=(refresh_token,))


def account(sign_in: SignIn, access: Access, endpoint: str | None, token: str) -> str:
    """Who signed in. Raises ConnectorError."""
    host, path = sign_in.url(sign_in.account, endpoint)
    http = Http(
        host, access, headers={"authorization": f"Bearer {token}"}, secrets=[token], confidential=True
    )
    try:
        found = http.get(path)
    finally:
        http.close()
    about = found if isinstance(found, dict) else {}
    return next((str(about[name]) for name in sign_in.account_fields if about.get(name)), "")


def revoke(sign_in: SignIn, access: Access, endpoint: str | None, token: str) -> None:
    """Have the provider forget what this token stands for; one that it knows no longer is forgotten already.

    With most providers everything goes that the person has allowed us, whichever token is named. Raises
    ConnectorError.
    """
    if sign_in.revoke is None:
        raise AssertionError(f"{sign_in.title} documents no address to revoke at")
    host, path = sign_in.url(sign_in.revoke, endpoint)
    http = Http(
        host,
        access,
        secrets=[token],
        judge_answer=lambda answer: _judge_revoking(sign_in, answer),
        limits=Limits(connect=5, read=5, overall=10),  # a person waits for it
        confidential=True,
    )
    try:
        http.ask("POST", path, content=urlencode({"token": token}).encode(), headers=_FORM)
    except _Unknown:
        return
    finally:
        http.close()


class _Unknown(AuthError):
    """The provider knows no such token."""


def _judge_revoking(sign_in: SignIn, answer: Answer) -> ConnectorError | None:
    found = answer.json_or_none
    word = str(found.get("error", "")) if isinstance(found, dict) else ""
    if word in ("invalid_token", "invalid_grant"):
        return _Unknown(f"{sign_in.title} does not know the token.")
    return _judge(sign_in, answer)


def _asked(
    sign_in: SignIn,
    client: Client,
    access: Access,
    endpoint: str | None,
    form: dict[str, str],
    secrets: tuple[str, ...],
) -> Tokens:
    host, path = sign_in.url(sign_in.token, endpoint)
    headers = dict(_FORM)
    if sign_in.client == "basic" and client.secret:
        pair = f"{quote(client.id, safe='')}:{quote(client.secret, safe='')}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form = {**form, "client_id": client.id}
        if client.secret:
            form["client_secret"] = client.secret
    http = Http(
        host,
        access,
        secrets=[client.secret, *secrets],
        judge_answer=lambda answer: _judge(sign_in, answer),
        confidential=True,
    )
    try:
        answer = http.ask("POST", path, content=urlencode(form).encode(), headers=headers)
        return _tokens(sign_in, answer.json)
    finally:
        http.close()


def _tokens(sign_in: SignIn, found: Any) -> Tokens:
    token = found.get("access_token") if isinstance(found, dict) else None
    if not isinstance(token, str) or str(found.get("token_type", "")).strip().lower() != "bearer":
        raise Unavailable(f"{sign_in.title} gave no token in the form that it documents.")
    life = found.get("expires_in")
    return Tokens(
        token,
        str(found.get("refresh_token") or ""),
        float(life) if isinstance(life, int | float) else LIFE,
        frozenset(str(found.get("scope", "")).split()),
    )


def _judge(sign_in: SignIn, answer: Answer) -> ConnectorError | None:
    """What a refusal of a token endpoint means (RFC 6749, and what providers add)."""
    found = answer.json_or_none
    word = str(found.get("error", "")) if isinstance(found, dict) else ""
    if answer.status == 429:
        wait = answer.retry_after
        return RateLimited(
            f"{sign_in.title} asks for a pause.", retry_after=WAIT_UNSAID if wait is None else wait
        )
    if answer.status in (408, 409) or answer.status >= 500 or word == "temporarily_unavailable":
        return Unavailable(f"{sign_in.title}'s sign-in does not answer just now (status {answer.status}).")
    if word == "invalid_grant":
        return GrantEnded(f"{sign_in.title} takes this sign-in no longer ({word}).")
    if word == "invalid_client":
        name = sign_in.name.upper()
        return AuthError(
            f"{sign_in.title} does not know this installation. Check {name}_CLIENT_ID and"
            f" {name}_CLIENT_SECRET.",
            code="client",
        )
    return AuthError(f"{sign_in.title} refused the sign-in ({word or answer.status}).", code="sign_in")

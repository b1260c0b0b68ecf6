"""Google's service accounts: a key file becomes an access token, over the guarded client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.auth import exceptions as google_errors
from google.auth import transport
from google.oauth2 import service_account

from connectors.errors import AuthError, ConnectorError, OutcomeUnknown, RateLimited, Unavailable
from connectors.http import WAIT_UNSAID, Answer, Http
from connectors.signin import GOOGLE

NEEDED = ("client_email", "private_key", "private_key_id", "project_id")


def key_of(text: str) -> dict[str, Any]:
    """A service account's key file. Raises ValueError with what is wrong, without its content."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("paste the whole JSON key file of a service account")
    if found.get("type") != "service_account" or not all(isinstance(found.get(name), str) for name in NEEDED):
        raise ValueError("this is not the key file of a service account")
    return found


class ServiceAccount:
    """The access tokens of a service account: one at a time, got anew when the old one nears its end."""

    def __init__(self, key: Mapping[str, Any], http: Http) -> None:
        self.email = str(key["client_email"])
        self._http = http
        host, path = GOOGLE.token
        try:
            # Tokens are asked for at Google alone, whatever address the key file names.
            self._credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                {**key, "token_uri": host + path}, scopes=[GOOGLE.scopes[0]]
            )
        except ValueError:
            raise AuthError(
                "The private key of the service account cannot be read. Enter its key file again.",
                code="credentials",
            ) from None

    def token(self, *, refused: str | None = None) -> str:
        """Raises AuthError, Unavailable."""
        current = self._credentials
        if not current.valid or current.token == refused:
            try:
                current.refresh(self._request)
            except google_errors.GoogleAuthError as problem:
                raise Unavailable(
                    f"Google gave no token for the service account ({type(problem).__name__})."
                ) from None
        return str(current.token)

    def close(self) -> None:
        self._http.close()

    def _request(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> transport.Response:
        """google-auth's way out: through our client, and without its second tries."""
        content = body.encode() if isinstance(body, str) else body
        try:
            answer = self._http.ask(method, GOOGLE.token[1], content=content, headers=headers)
        except OutcomeUnknown as problem:  # a token that got lost does no harm
            raise Unavailable(problem.message) from None
        return _Response(answer)


class _Response(transport.Response):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer.headers

    @property
    def data(self) -> bytes:
        return self._answer.body


def judge_token(answer: Answer) -> ConnectorError | None:
    """What an answer of Google's token endpoint means for a service account."""
    found = answer.json_or_none
    if answer.status in (408, 500, 502, 503, 504):
        return Unavailable(f"Google's sign-in did not answer properly (status {answer.status}).")
    if answer.status == 429:
        wait = answer.retry_after
        return RateLimited(
            "Google's sign-in asks for a pause.", retry_after=WAIT_UNSAID if wait is None else wait
        )
    if not isinstance(found, dict):
        return None
    word = str(found.get("error", ""))
    return AuthError(
        f"Google refuses the key of the service account ({word or answer.status}). Make a new key for it and"
        " enter its key file again.",
        code="credentials",
    )

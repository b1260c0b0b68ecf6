"""What signing in to a system is made of, as its documentation says. Facts only: the calls are in `oauth`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class SignIn:
    """One provider of OAuth sign-ins (authorization code with PKCE).

    `name` begins the names of its settings (GOOGLE_CLIENT_ID). The paths are split from their hosts, so that
    a simulator on this machine can stand in for all of them.
    """

    name: str
    title: str
    scopes: tuple[str, ...]
    authorize: tuple[str, str]  # host and path, here and below
    token: tuple[str, str]
    account: tuple[str, str]  # tells who signed in, by one GET with the fresh token
    account_fields: tuple[str, ...]  # of its answer, the first that is there
    revoke: tuple[str, str] | None = None  # None where its documentation names none
    # How the client proves itself: its secret in the body, or as a user name and password.
    client: Literal["body", "basic"] = "body"
    parameters: Mapping[str, str] = field(default_factory=dict)  # more for the consent page

    def url(self, what: tuple[str, str], endpoint: str | None) -> tuple[str, str]:
        """Host and path, at a simulator if one stands in."""
        return (endpoint.rstrip("/"), what[1]) if endpoint else what


def local_endpoint(endpoint: str) -> str:
    """The address of a simulator. Raises ValueError for one that is not on this machine."""
    try:
        host = urlsplit(endpoint).hostname or ""
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise ValueError(
            "an endpoint of one's own is a simulator on this machine, like http://127.0.0.1:8700"
        )
    return endpoint.rstrip("/")


GOOGLE = SignIn(
    name="google",
    title="Google",
    scopes=("https://www.googleapis.com/auth/spreadsheets", "openid", "email"),
    authorize=("https://accounts.google.com", "/o/oauth2/v2/auth"),
    token=("https://oauth2.googleapis.com", "/token"),
    revoke=("https://oauth2.googleapis.com", "/revoke"),
    account=("https://openidconnect.googleapis.com", "/v1/userinfo"),
    account_fields=("email", "sub"),
    # Without these Google gives a refresh token only the first time that somebody agrees.
    parameters={"access_type": "offline", "prompt": "consent"},
)

AIRTABLE = SignIn(
    name="airtable",
    title="Airtable",
    scopes=("data.records:read", "data.records:write", "schema.bases:read", "schema.bases:write"),
    authorize=("https://airtable.com", "/oauth2/v1/authorize"),
    token=("https://airtable.com", "/oauth2/v1/token"),
    account=("https://api.airtable.com", "/v0/meta/whoami"),
    account_fields=("email", "id"),
    client="basic",
)

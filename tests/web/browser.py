"""A browser without a screen: keeps cookies, follows nothing by itself, fills in a page's own forms."""

from __future__ import annotations

import re
from html import unescape

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tasks import people
from tasks.context import Context

_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Browser:
    def __init__(self, app: Flask, ctx: Context) -> None:
        self.client: FlaskClient = app.test_client()
        self.ctx = ctx

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def text(self, path: str) -> str:
        """The page, which must be there, with its entities resolved."""
        response = self.get(path)
        assert response.status_code == 200, (path, response.status_code, response.text[:2000])
        return unescape(response.text)

    def words(self, path: str) -> str:
        """What a person reads of the page: no tags, single spaces."""
        return " ".join(re.sub(r"<[^>]+>", " ", self.text(path)).split())

    def post(self, path: str, _token: str | None = None, **fields: str) -> TestResponse:
        """Send a form of this browser, with its token."""
        token = self.token() if _token is None else _token
        return self.client.post(path, data={"csrf_token": token, **fields})

    def token(self) -> str:
        """The token of this browser's forms, from a page that anybody sees."""
        page = self.client.get("/", follow_redirects=True).text
        found = _TOKEN.search(page)
        assert found, page[:2000]
        return found[1]

    def sign_in(self, name: str) -> Browser:
        """Come in by a link, as this person."""
        link = people.one_time_sign_in(self.ctx, f"{name}@example.com")
        response = self.post(link)
        assert response.status_code == 303, response.text[:2000]
        return self

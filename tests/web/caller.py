"""A program that calls the API with a token."""

from __future__ import annotations

from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from models.people import User
from tasks import tokens
from tasks.context import Context
from tasks.rights import Capability
from tests.web.world import OTHER, OWN


class Caller:
    def __init__(self, app: Flask, ctx: Context, name: str, *scopes: Capability) -> None:
        with ctx.reads() as db:
            user = db.get_one(User, f"user-{name}")
        where = OTHER if name == "charlie" else OWN
        made = tokens.make(ctx, user.id, where, "script", scopes or tuple(Capability), days=None, by="test")
        self.id, self.token = made.id, made.token
        self.client = app.test_client()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> TestResponse:
        sent = {"Authorization": f"Bearer {self.token}"}
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        return self.client.open(
            path if path.startswith("/api") else f"/api/v1{path}", method=method, json=body, headers=sent
        )

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.call("GET", path, **headers)

    def json(self, path: str) -> Any:
        response = self.get(path)
        assert response.status_code == 200, response.text
        return response.json

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        return self.call("POST", path, {} if body is None else body, **headers)

    def put(self, path: str, body: Any) -> TestResponse:
        return self.call("PUT", path, body)

    def delete(self, path: str) -> TestResponse:
        return self.call("DELETE", path)

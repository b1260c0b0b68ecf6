"""A secret goes in and comes out nowhere: not on success, not on any failure, in no form."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from itertools import count, product
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import structlog
from flask import Flask
from sqlalchemy import select

from connectors.errors import AuthError, BadAnswer, OptionsError, RateLimited, Unavailable
from connectors.parse import Parse
from connectors.sql import Sql
from models.bulk import BulkRetry
from models.connections import Connection
from models.drafts import Draft
from models.issues import Conflict
from models.people import User
from models.questions import Question, QuestionKind
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind, SyncRun
from tasks import doctor, drafts, jobs, logs, questions, redaction, saving, shift, tokens
from tasks.calls import FAILURE_KEPT
from tasks.context import Context
from tasks.errors import DefinitionError
from tasks.execute import carry_out
from tasks.people import DEFAULT_WORKSPACE as OWN
from tasks.people import one_time_sign_in
from tasks.rights import Capability
from tests.house import House
from web import create_app
from web.api.wire import operation_of

pytestmark = pytest.mark.security

SQL_SECRET, PARSE_SECRET, REST_SECRET = (
    "canary+Sql/9f3a7c41",
    "canary Parse&72be10aa",
    'canary"Rest\\5d2c88ef',
)
SECRETS = (SQL_SECRET, PARSE_SECRET, REST_SECRET)


def forms(secret: str) -> Iterator[str]:
    """As it is, as base64, in an address, in JSON, and how it begins."""
    yield from (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], secret[:12])
    yield from (base64.b64encode(secret.encode()).decode().rstrip("="), secret.encode().hex())


def hits(text: str) -> list[str]:
    return [form for secret in SECRETS for form in forms(secret) if form in text]


class Log:
    """Everything that is logged while it listens, as production writes it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def listen(self) -> None:
        """Commands set logs up for themselves: call it again after one."""
        logs.set_up("DEBUG", "json", process="test")
        [handler] = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def log(house: House) -> Log:
    found = Log()
    found.listen()
    return found


def test_no_secret_comes_out_anywhere(house: House, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = house.ctx()
    said: list[str] = []
    crm = saving.create_connection(
        ctx, OWN, "crm", "sql", {"url": "postgresql://ada@127.0.0.1:9/crm", "password": SQL_SECRET}, by="ada"
    )
    app = saving.create_connection(
        ctx, OWN, "app", "parse",
        {"url": "http://127.0.0.1:9/parse", "application_id": "a", "master_key": PARSE_SECRET,
         "rest_api_key": REST_SECRET},
        by="ada",
    )  # fmt: skip
    definition = {
        "left": {"connection": "crm", "stream": "people"},
        "right": {"connection": "app", "stream": "People", "key": "email"},
        "match": ["email"],
        "fields": [{"left": "email", "right": "email"}],
        "retries": 0,
    }
    sync = saving.create_config(ctx, OWN, "people", definition, by="ada", owner_id=None)
    for kind in (QuestionKind.CHECK, QuestionKind.DISCOVER):
        for connection in (crm, app):
            questions.answer(ctx, questions.ask(ctx, OWN, kind, by="ada", connection_id=connection))
    questions.answer(ctx, questions.ask(ctx, OWN, QuestionKind.TIE, by="ada", config_id=sync))
    run(ctx, sync)
    drafts.begin(ctx, OWN, crm, app, by="ada")
    said.append(str(list(doctor.examine(ctx))))
    for args in (
        ["check", "--json"],
        ["discover", "crm"],
        ["sync", "people", "--json"],
        ["runs"],
        ["status"],
        ["explain", "people", "x"],
    ):
        done = house.run(*args)
        said += [done.out, done.err]
    log.listen()
    echo(monkeypatch)
    for _ in range(len(FAILURES)):
        for connection in (crm, app):
            questions.answer(
                ctx, questions.ask(ctx, OWN, QuestionKind.CHECK, by="ada", connection_id=connection)
            )
        run(ctx, sync)
    saving.change_connection(
        ctx, crm, {"url": "postgresql://ada@127.0.0.1:9/crm", "query_seconds": 7}, by="ada"
    )
    try:
        saving.change_connection(ctx, crm, {"url": "postgresql://eve@127.0.0.1:9/crm"}, by="eve")
    except DefinitionError:
        said.append(traceback.format_exc())
    jobs.run_now(ctx, "cleanup-old-logs", asked_by="ada")
    said += crawl(ctx, create_app(ctx))
    house.store("UPDATE connections SET secrets = 'v1.x.y.z' WHERE name = 'crm'")
    questions.answer(ctx, questions.ask(ctx, OWN, QuestionKind.CHECK, by="ada", connection_id=crm))
    stored = house.dump()
    logged = log.text
    assert logged.count("\n") > 10, "the log was looked at"
    assert "•••" in stored + logged, "the systems did repeat the secrets, and they were taken out"
    assert hits("\n".join(said)) == []
    assert hits(logged) == []
    assert hits(stored) == []
    for line in logged.splitlines():
        json.loads(line)


def run(ctx: Context, sync: str) -> None:
    try:
        shift.run_here(ctx, sync, asked_by="ada", kind=RunKind.MANUAL, carry_out=carry_out)
    except Exception:  # what a run ends with is stored; that is what is looked at
        logging.getLogger("test").exception("run ended")


# What a hostile system answers: our own secret, in all kinds of errors.
FAILURES: tuple[Callable[[str], Exception], ...] = (
    lambda text: AuthError(f"password {text} is wrong"),
    lambda text: BadAnswer(f'{{"error": "{text}"}}'),
    lambda text: Unavailable(f"no route to postgresql://ada:{text}@db/crm"),
    lambda text: RateLimited(f"key {text} is over its quota", retry_after=0),
    lambda text: OptionsError(f"unknown key {text}"),
    lambda text: RuntimeError(f"a mistake of ours with {text}"),
)


def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on both systems answer every call with an error that repeats the secret."""
    turn = iter(range(10_000))

    def fail(self: Any, *_: Any, **__: Any) -> Any:
        name = "password" if isinstance(self, Sql) else "master_key"
        raise FAILURES[next(turn) % len(FAILURES)](getattr(self.options, name).get_secret_value())

    for kind in (Sql, Parse):
        for verb in ("check", "discover", "stream"):
            monkeypatch.setattr(kind, verb, fail)


def test_no_secret_is_kept_of_a_call(house: House, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that repeat what they were sent, in every form: whole, and where a body is cut off."""
    ctx = house.ctx()
    ctx = replace(ctx, access=replace(ctx.access, networks=(ip_network("127.0.0.0/8"),), allow_http=True))
    turn = count()

    def echo(request: httpx.Request) -> httpx.Response:
        said = [form for secret in SECRETS[1:] for form in repeated(secret)]
        text = json.dumps({"error": " ".join(said), "sent": dict(request.headers), "url": str(request.url)})
        form = next(turn) % 4
        body = [text, "x" * (FAILURE_KEPT - 40) + text, text * 2000, f"<p>{text}</p>"][form]
        told = {"x-echo": PARSE_SECRET, "x-request-id": REST_SECRET, "x-cut": "y" * 290 + PARSE_SECRET}
        return httpx.Response((400, 404, 500, 200)[form], text=body, headers=told)

    monkeypatch.setattr(Parse, "transport", httpx.MockTransport(echo))
    options = {"application_id": "a", "master_key": PARSE_SECRET, "rest_api_key": REST_SECRET}
    for name in ("one", "two"):
        saving.create_connection(
            ctx, OWN, name, "parse", {"url": f"http://127.0.0.1/{name}", **options}, by="ada"
        )  # fmt: skip
    definition = {
        "left": {"connection": "one", "stream": "People"},
        "right": {"connection": "two", "stream": "People"},
        "match": ["email"],
        "fields": [{"left": "email", "right": "email"}],
        "retries": 3,
    }
    sync = saving.create_config(ctx, OWN, "people", definition, by="ada", owner_id=None)
    for _ in range(4):
        run(ctx, sync)
    calls = house.stored("SELECT run_id, status FROM run_calls")
    assert {status for _, status in calls} == {200, 400, 404, 500}
    stored = house.dump()
    assert "•••" in stored
    assert hits(stored) == []
    said = crawl(ctx, create_app(ctx))
    assert any("/calls" in page and "x-echo" in page for page in said), "the calls were looked at"
    assert hits("\n".join(said)) == []
    assert hits(log.text) == []


def repeated(secret: str) -> Iterator[str]:
    """How a system may repeat a secret that it was sent."""
    coded = base64.b64encode(secret.encode()).decode()
    yield from (
        secret,
        quote(secret),
        quote(secret, safe=""),
        json.dumps(secret),
        f"{secret}again",
        secret * 2,
    )
    yield from (coded, coded.rstrip("="), base64.urlsafe_b64encode(secret.encode()).decode())


def crawl(ctx: Context, app: Flask) -> list[str]:
    """Every page and every answer of the API that can be got, as an administrator sees them; and exports."""
    with ctx.reads() as db:
        user = db.scalars(select(User)).one()
        runs = list(db.scalars(select(SyncRun.id)))
    token = tokens.make(ctx, user.id, OWN, "t", tuple(Capability), days=None, by="test").token
    client, found = app.test_client(), []
    link = one_time_sign_in(ctx, user.email)
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', client.get(link).text)
    assert csrf
    assert client.post(link, data={"csrf_token": csrf[1]}).status_code == 303
    seen: set[str] = set()
    pages = ("connections", "configs", "runs", "issues", "audit", "schedules", "people", "account")
    todo = ["/", *(f"/{name}" for name in pages)]
    while todo and len(seen) < 150:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        page = client.get(path)
        found.append(page.text)
        todo += [
            item.replace("&amp;", "&")
            for item in re.findall(r'href="(/[^"#]*)"', page.text)
            if "/assets/" not in item
        ]
    assert len(seen) > 15
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert csrf
    headers = {"Authorization": f"Bearer {token}"}
    walked = [client.get(path, headers=headers) for path in every_address(ctx, app)]
    assert sum(answer.status_code == 200 for answer in walked) > 30, "they were there to be looked at"
    found += [answer.text for answer in walked]
    for id in runs:
        client.post(f"/runs/{id}/calls/reveals", data={"csrf_token": csrf[1]})
        found.append(client.get(f"/runs/{id}/calls").text)
        listed = client.get(f"/api/v1/runs/{id}/calls?limit=200", headers=headers)
        found.append(listed.text)
        if ids := [item["id"] for item in listed.get_json()["items"][:100]]:
            told = client.post(f"/api/v1/runs/{id}/calls/reveals", json={"ids": ids}, headers=headers)
            assert told.status_code == 200
            found.append(told.text)
        for form in ("csv", "json"):
            answer = client.post(f"/runs/{id}/calls/exports", data={"csrf_token": csrf[1], "form": form})
            assert answer.status_code == 200
            found.append(answer.text)
    for form in ("csv", "json"):
        found.append(client.post("/api/v1/audit/exports", json={"form": form}, headers=headers).text)
    found.append(client.get("/api/health").text)
    return found


def every_address(ctx: Context, app: Flask) -> Iterator[str]:
    """All that the API answers to a GET, from the URL map, about everything that there is."""
    things: dict[str, list[str]] = {"name": list(jobs.registry()), "workspace_id": [OWN]}
    with ctx.reads() as db:
        for model in (Connection, SyncConfig, SyncRun, Question, Draft, BulkRetry, Conflict):
            name = {"connections": "connection_id", "sync_configs": "config_id", "sync_runs": "run_id"}.get(
                model.__tablename__, f"{model.__name__.lower()}_id"
            )
            things[name] = [str(id) for id in db.scalars(select(model.id).limit(40))]
    for rule in app.url_map.iter_rules():
        view = operation_of(app.view_functions[rule.endpoint])
        if view is None or "GET" not in (rule.methods or ()):
            continue
        names = re.findall(r"<(?:[^:>]*:)?(\w+)>", rule.rule)
        for values in product(*(things.get(name, ["nothing"]) for name in names)):
            path = rule.rule
            for value in values:
                path = re.sub(r"<[^>]+>", value, path, count=1)
            yield path + ("?key=x" if path.endswith("/records") else "")


def test_what_was_decrypted_is_known_in_every_form() -> None:
    redaction.remember(SECRETS)
    for secret in SECRETS:
        for form in (
            secret,
            quote(secret, safe=""),
            base64.b64encode(secret.encode()).decode(),
            json.dumps(secret),
        ):
            assert secret[:12] not in redaction.clean(f"before {form} after")
            assert "before" in redaction.clean(f"before {form} after")


def test_a_log_line_stays_one_line(log: Log) -> None:
    structlog.get_logger("test").info("x", text="a\r\nb\x1b[31mred\u2028end", long="y" * 1_000_000)
    lines = log.text.split("\n")
    assert len([line for line in lines if line]) == 1
    assert "\x1b" not in lines[0]

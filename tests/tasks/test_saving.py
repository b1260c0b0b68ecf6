"""Connections and syncs by form and API: read like the YAML, refused by field, and no secret goes astray."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from models.audit import AuditEvent
from models.connections import Connection
from models.questions import Question, QuestionKind, QuestionState
from models.secrets import KeyRing
from models.sync_configs import SyncConfig
from tasks import questions, saving
from tasks.context import Context
from tasks.errors import DefinitionError, NotFound, WorkError, WrongState
from tasks.people import DEFAULT_WORKSPACE as OWN
from tasks.sides import secrets_of
from tests.house import House

DATABASE = {"url": "postgresql://ada@db.example.com/crm", "password": "hunter2-hunter2"}


@pytest.fixture
def ctx(house: House) -> Context:
    return house.ctx()


def make(ctx: Context, name: str = "crm", connector: str = "sql", **options: Any) -> str:
    return saving.create_connection(ctx, OWN, name, connector, options, by="ada")


def stored(ctx: Context, connection_id: str) -> Connection:
    with ctx.reads() as db:
        return db.get_one(Connection, connection_id)


def ends(ctx: Context, house: House) -> None:
    house.table(
        "left.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, name TEXT)",
        "INSERT INTO people VALUES (1, 'ada@example.com', 'Ada'), (2, 'bob@example.com', 'Bob')",
    )
    house.write("sheets/people.csv", "sync_id,email,name\n")
    make(ctx, "left", url="sqlite:///left.db")
    make(ctx, "right", "csv", folder="sheets")


DEFINITION = {
    "left": {"connection": "left", "stream": "people"},
    "right": {"connection": "right", "stream": "people.csv"},
    "match": ["email"],
}


def sync(ctx: Context, **changed: Any) -> str:
    return saving.create_config(ctx, OWN, "people", {**DEFINITION, **changed}, by="ada", owner_id=None)


def test_a_secret_is_kept_apart_and_encrypted(ctx: Context) -> None:
    row = stored(ctx, make(ctx, **DATABASE))
    assert "hunter2" not in str(row.options) + str(row.secrets)
    assert secrets_of(ctx, row) == {"password": "hunter2-hunter2"}


def test_a_secret_stays_when_it_is_not_sent_again(ctx: Context) -> None:
    made = make(ctx, **DATABASE)
    assert saving.change_connection(ctx, made, {"url": DATABASE["url"], "query_seconds": 20}, by="ada")
    assert secrets_of(ctx, stored(ctx, made)) == {"password": "hunter2-hunter2"}
    assert stored(ctx, made).options["query_seconds"] == 20
    assert not saving.change_connection(ctx, made, {"url": DATABASE["url"], "query_seconds": 20}, by="ada")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada@evil.example.com/crm",
        "postgresql://ada@db.example.com:5433/crm",
        "postgresql://eve@db.example.com/crm",
    ],
)
def test_another_host_port_or_user_asks_for_the_secret_again(ctx: Context, url: str) -> None:
    made = make(ctx, **DATABASE)
    with pytest.raises(DefinitionError, match="Enter password again") as refused:
        saving.change_connection(ctx, made, {"url": url}, by="eve")
    assert refused.value.place == "options.password"
    assert stored(ctx, made).options["url"] == DATABASE["url"]
    saving.change_connection(ctx, made, {"url": url, "password": "another-password"}, by="eve")
    assert secrets_of(ctx, stored(ctx, made)) == {"password": "another-password"}


def test_a_secret_whose_key_is_away_is_kept_until_it_is_entered_again_or_given_up(ctx: Context) -> None:
    made = make(ctx, **DATABASE)
    before = stored(ctx, made).secrets
    away = replace(ctx, ring=KeyRing({"other": b"o" * 32}))
    with pytest.raises(DefinitionError, match="Put their key back, or enter password again") as refused:
        saving.change_connection(away, made, {"url": DATABASE["url"], "query_seconds": 20}, by="ada")
    assert refused.value.place == "options.password"
    assert stored(ctx, made).secrets == before
    assert secrets_of(ctx, stored(ctx, made)) == {"password": "hunter2-hunter2"}, "the key came back"
    saving.change_connection(away, made, {"url": DATABASE["url"], "password": "another-one"}, by="ada")
    assert secrets_of(away, stored(ctx, made)) == {"password": "another-one"}
    saving.change_connection(ctx, made, {"url": DATABASE["url"], "password": None}, by="ada")
    assert stored(ctx, made).secrets is None


@pytest.mark.parametrize(
    ("options", "place", "said"),
    [
        ({"url": "mongodb://x"}, "options.url", "postgresql"),
        ({"uri": "sqlite:///a.db"}, "options.uri", "Did you mean 'url'"),
        ({}, "options.url", "missing"),
        ({"url": "sqlite:///a.db", "query_seconds": "soon"}, "options.query_seconds", "whole number"),
    ],
)
def test_a_mistake_names_its_field(ctx: Context, options: dict[str, Any], place: str, said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as refused:
        make(ctx, **options)
    assert refused.value.place == place


def test_two_connections_have_two_names(ctx: Context) -> None:
    make(ctx, url="sqlite:///a.db")
    with pytest.raises(WorkError, match="already") as refused:
        make(ctx, url="sqlite:///b.db")
    assert refused.value.code == "name_taken"


def test_a_connection_in_use_stays(ctx: Context, house: House) -> None:
    ends(ctx, house)
    made = sync(ctx)
    with ctx.reads() as db:
        left = db.scalars(select(Connection.id).where(Connection.name == "left")).one()
    with pytest.raises(WrongState, match="'people'"):
        saving.delete_connection(ctx, left, by="ada")
    saving.delete_config(ctx, made, by="ada")
    saving.delete_connection(ctx, left, by="ada")
    with pytest.raises(NotFound):
        saving.delete_connection(ctx, left, by="ada")


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"conflict": "sometimes"}, "conflict"),
        ({"left": {"connection": "nowhere", "stream": "people"}}, "left.connection"),
        ({"left": {"connection": "left"}}, "left.stream"),
        ({"fields": [{"left": "a"}]}, "fields.0.right"),
        ({"schedule": {"cron": "every day"}}, "schedule.cron"),
        ({"schedule": {"cron": "@daily", "timezone": "Mars/Olympus"}}, "schedule.timezone"),
        ({"after": ["nothing"]}, "after.0"),
        ({"fields": [{"left": "email", "right": "email", "transform": "lower"}]}, "fields.0.transform"),
    ],
)
def test_a_sync_that_cannot_work_is_refused_by_field(
    ctx: Context, house: House, changed: dict[str, Any], place: str
) -> None:
    ends(ctx, house)
    with pytest.raises(DefinitionError) as refused:
        sync(ctx, **changed)
    assert refused.value.place == place
    with ctx.reads() as db:
        assert db.scalar(select(SyncConfig.id)) is None


def test_a_change_from_an_old_version_is_refused(ctx: Context, house: House) -> None:
    ends(ctx, house)
    made = sync(ctx)
    assert saving.change_config(ctx, made, {**DEFINITION, "conflict": "left_wins"}, by="ada", version=1)
    with pytest.raises(WrongState) as refused:
        saving.change_config(ctx, made, DEFINITION, by="bob", version=1)
    assert refused.value.code == "changed"
    assert not saving.change_config(ctx, made, {**DEFINITION, "conflict": "left_wins"}, by="bob", version=2)


def ask(ctx: Context, kind: QuestionKind, name: str | None = None, **values: Any) -> Question:
    with ctx.reads() as db:
        found = db.scalar(select(Connection.id).where(Connection.name == name)) if name else None
    asked = questions.ask(ctx, OWN, kind, by="ada", connection_id=found, **values)
    assert questions.answer(ctx, asked)
    assert not questions.answer(ctx, asked), "a question is answered once"
    with ctx.reads() as db:
        return db.get_one(Question, asked)


def test_questions_leave_their_answers(ctx: Context, house: House) -> None:
    ends(ctx, house)
    assert ask(ctx, QuestionKind.CHECK, "left").state == QuestionState.ANSWERED
    found = ask(ctx, QuestionKind.DISCOVER, "left").answer
    assert found is not None and [stream["name"] for stream in found["streams"]] == ["people"]
    sample = ask(ctx, QuestionKind.SAMPLE, "left", options={"stream": "people"}).answer
    assert sample is not None
    assert sample["fields"] == ["id", "email", "name"]
    assert ["1", "ada@example.com", "Ada"] in sample["records"]
    gone = ask(ctx, QuestionKind.SAMPLE, "left", options={"stream": "nothing"})
    assert (gone.state, gone.error_code) == (QuestionState.FAILED, "stream_gone")


def test_a_saved_sync_is_tied_to_its_streams(ctx: Context, house: House) -> None:
    ends(ctx, house)
    made = sync(ctx)
    answered = ask(ctx, QuestionKind.TIE, config_id=made)
    assert answered.error is None
    assert answered.answer == {"fields": ["email", "name"], "notes": []}
    with ctx.reads() as db:
        assert db.get_one(SyncConfig, made).known_pairs == ["email", "name"]
    saving.change_config(ctx, made, {**DEFINITION, "match": ["phone"]}, by="ada")
    wrong = ask(ctx, QuestionKind.TIE, config_id=made)
    assert (wrong.error_code, wrong.answer) == ("definition", {"place": "match.0"})


def test_links_that_a_sync_carries_are_made_by_no_other(ctx: Context, house: House) -> None:
    """Where they lead is said by the definition, or by the streams: then the check of these says it."""
    ends(ctx, house)
    house.table("left.db", "ALTER TABLE people ADD COLUMN boss INTEGER REFERENCES people(id)")
    house.write("sheets/people.csv", "sync_id,email,name,boss\n")
    boss = {"left": "boss", "right": "boss", "type": "links"}
    fields: list[dict[str, Any]] = [{"left": "email", "right": "email"}]
    makes = {"linked_records": {"create_missing": True}}
    with pytest.raises(DefinitionError, match="carries it") as refused:
        sync(ctx, fields=[*fields, {**boss, "links_to": "people"}], **makes)
    assert refused.value.place == "linked_records.create_missing"
    config_id = sync(ctx, fields=[*fields, boss], **makes)
    wrong = ask(ctx, QuestionKind.TIE, config_id=config_id)
    assert (wrong.error_code, wrong.answer) == ("definition", {"place": "linked_records.create_missing"})
    assert "what boss links to is made by the sync that carries it" in (wrong.error or "")


def test_an_unreadable_secret_fails_the_question_alone(ctx: Context, house: House) -> None:
    make(ctx, **DATABASE)
    house.store("UPDATE connections SET secrets = 'v1.x.y.z'")
    failed = ask(ctx, QuestionKind.CHECK, "crm")
    assert failed.error_code == "secret_unreadable"
    assert "hunter2" not in (failed.error or "")


def test_what_is_done_is_audited_without_the_secret(ctx: Context) -> None:
    made = make(ctx, **DATABASE)
    saving.delete_connection(ctx, made, by="ada")
    with ctx.reads() as db:
        rows = db.scalars(select(AuditEvent).order_by(AuditEvent.id)).all()
    acts = [(row.action, row.actor) for row in rows if row.action.startswith("connection.")]
    assert acts == [("connection.created", "ada"), ("connection.deleted", "ada")]
    assert "hunter2" not in str([row.detail for row in rows])

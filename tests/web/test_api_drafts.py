"""A first sync over the API: begun, streams chosen, pairs proposed, made, previewed, only then started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.sync_configs import SyncConfig
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.test_drafts import SHEET, answer_all, clock, ctx, ends, work_off
from tests.web.world import World

__all__ = ["clock", "ctx", "ends"]  # fixtures of the panel's test serve here too

STREAMS = {"left": {"stream": "customers"}, "right": {"stream": "customers.csv", "key": "E-mail"}}


@pytest.fixture
def ada(caller: Callable[..., Caller]) -> Caller:
    return caller("alice")


def begun(ada: Caller, world: World, ends: tuple[str, str]) -> str:
    made = ada.post("/drafts", {"left_connection_id": ends[0], "right_connection_id": ends[1]})
    assert made.status_code == 201, made.text
    path = str(made.headers["Location"]).removeprefix("/api/v1")
    answer_all(world)
    return path


def said(ada: Caller, path: str, **words: Any) -> None:
    response = ada.call("PATCH", path, words)
    assert response.status_code == 200, response.text


def proposed(ada: Caller, world: World, ends: tuple[str, str]) -> str:
    path = begun(ada, world, ends)
    held = {question["kind"]: question for question in ada.json(path)["questions"]}
    assert held["discover"]["state"] == "answered"
    assert ada.put(f"{path}/streams", STREAMS).status_code == 200
    assert ada.json(path)["proposed"] == []
    answer_all(world)
    return path


def test_a_first_sync_is_put_together_previewed_and_then_started(
    ada: Caller, world: World, ends: tuple[str, str], tmp_path: Path
) -> None:
    path = proposed(ada, world, ends)
    draft = ada.json(path)
    pairs = [{"left": pair["left"], "right": pair["right"]} for pair in draft["proposed"]]
    assert {pair["left"]: pair["right"] for pair in pairs} == {
        "email": "E-mail", "balance": "Balance", "name": "Customer"
    }  # fmt: skip
    assert draft["proposed_match"] == ["email"]
    said(ada, path, definition={"fields": pairs, "match": draft["proposed_match"], "conflict": "left_wins"})
    said(ada, path, name="customers", definition={"first_run": "apply", "schedule": {"cron": "*/15 * * * *"}})
    done = ada.post(f"{path}/completion")
    assert done.status_code == 201 and done.json is not None, done.text
    config = done.json["config_id"]
    assert not ada.json(f"/configs/{config}")["auto"], "it waits"
    preview = work_off(world, done.json["preview_run_id"])
    assert (preview.summary or {})["right"]["created"] == 1
    assert (tmp_path / "sheets" / "customers.csv").read_text() == SHEET, "a preview writes nothing"
    assert ada.get(path).status_code == 404, "the draft is done with"
    started = ada.post(f"/configs/{config}/start")
    assert started.status_code == 202 and started.json is not None, started.text
    assert work_off(world, started.json["id"]).state == "success"
    assert "dee@example.com" in (tmp_path / "sheets" / "customers.csv").read_text()
    assert ada.json(f"/configs/{config}")["auto"]


def test_a_change_begins_from_the_sync_as_it_is(ada: Caller, world: World, ends: tuple[str, str]) -> None:
    path = proposed(ada, world, ends)
    said(
        ada,
        path,
        name="customers",
        definition={"fields": [{"left": "email", "right": "E-mail"}], "match": ["email"]},
    )
    config = ada.post(f"{path}/completion").json["config_id"]  # type: ignore[index]
    begun = ada.post(f"/configs/{config}/drafts")
    assert begun.status_code == 201 and begun.json is not None
    change = f"/drafts/{begun.json['id']}"
    assert begun.json["config_id"] == config and begun.json["name"] == "customers"
    assert ada.call("PATCH", change, {"name": "x"}).status_code == 422
    said(ada, change, definition={"conflict": "right_wins", "match": None})
    said(ada, change, definition={"match": ["email"]})
    done = ada.post(f"{change}/completion")
    assert done.json == {"config_id": config, "preview_run_id": None}
    assert ada.json(f"/configs/{config}")["definition"]["conflict"] == "right_wins"
    assert ada.post(f"/configs/{config}/start").status_code == 409, "it has no schedule"
    assert [line["id"] for line in ada.json("/drafts")["items"]] == []


def test_what_cannot_be_is_refused_with_its_field_and_nothing_is_kept(
    ada: Caller, world: World, ends: tuple[str, str]
) -> None:
    path = proposed(ada, world, ends)
    before = ada.json(path)
    for wrong, field in (
        ({"definition": {"left": {"connection": "x"}}}, "definition.left"),
        ({"definition": {"nonsense": 1}}, "definition.nonsense"),
        ({"definition": {"conflict": "maybe"}}, "conflict"),
        ({"definition": {"fields": [{"left": 1}]}}, "fields"),
        ({"name": "two\nlines"}, "name"),
        ({"unknown": 1}, "unknown"),
    ):
        refused = ada.call("PATCH", path, wrong)
        assert refused.status_code == 422 and refused.json is not None, refused.text
        assert field in refused.json["errors"][0]["field"] + refused.json["detail"], refused.text
    moved = {**STREAMS, "left": {"connection": "my sheets", "stream": "x"}}
    assert ada.put(f"{path}/streams", moved).status_code == 422
    assert ada.post(f"{path}/completion").status_code == 422, "nothing is paired"
    assert ada.post("/drafts", {"left_connection_id": "x", "right_connection_id": ends[1]}).status_code == 404
    assert {**ada.json(path), "questions": []} == {**before, "questions": []}
    assert ada.delete(path).status_code == 204
    assert ada.get(path).status_code == 404


def test_a_draft_is_its_workspaces_own(
    ada: Caller, caller: Callable[..., Caller], world: World, ends: tuple[str, str]
) -> None:
    path = begun(ada, world, ends)
    charlie = caller("charlie")
    assert charlie.json("/drafts")["items"] == []
    assert charlie.get(path).status_code == 404
    assert (
        charlie.post("/drafts", {"left_connection_id": ends[0], "right_connection_id": ends[1]}).status_code
        == 404
    )
    assert caller("bob").get(path).status_code == 403


def test_a_started_sync_that_was_paused_is_not_started_by_the_way(
    ada: Caller, world: World, alice: Browser
) -> None:
    config = world.config(auto=False, paused_at=world.clock.now, definition={**DEFINED})
    refused = ada.post(f"/configs/{config}/start")
    assert refused.status_code == 409 and "paused" in refused.text
    with world.ctx.reads() as db:
        assert not db.get_one(SyncConfig, config).auto
    assert alice.get(f"/configs/{config}").status_code == 200


DEFINED = {
    "left": {"connection": "crm", "stream": "customers"},
    "right": {"connection": "sheets", "stream": "Customers"},
    "match": ["email"],
    "schedule": {"cron": "0 * * * *"},
    "conflict": "left_wins",
}

"""What people do on a record's page: say who is who, correct a value, tell what became of a write."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import select

from connectors.base import Access
from models.journal import Change
from models.links import Link
from models.questions import QuestionKind
from sync.plan import Operation
from tasks import questions
from tasks.context import Context
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.test_drafts import answer_all, work_off
from tests.web.world import OWN, Clock, World, make_context
from web import words

Callers = Callable[..., Caller]
ANN = "ann@old.example"
DEFINITION = {
    "match": ["email"],
    "fields": [{"left": "email", "right": "email"}, {"left": "name", "right": "name"}],
    "conflict": "left_wins",
    "first_run": "apply",
}


@pytest.fixture
def ctx(tmp_path: Path, clock: Clock) -> Context:
    """May reach the files of this test."""
    return replace(make_context(tmp_path, clock), access=Access(folders=(tmp_path,)))


@pytest.fixture
def config(alice: Browser, world: World, tmp_path: Path) -> str:
    """Ann stands on both sides under different addresses, Bob under one."""
    ends: dict[str, str] = {}
    for side, ann in (("left", "1, 'ann@old.example', 'Ann'"), ("right", "7, 'ann@new.example', 'Anna'")):
        path = tmp_path / f"{side}.db"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, name TEXT)")
            db.execute(f"INSERT INTO people VALUES ({ann}), (9, 'bob@example.com', 'Bob')")
        made = alice.post("/connections", connector="sql", name=side, url=f"sqlite:///{path}")
        ends[side] = str(made.location).rsplit("/", 1)[1]
    definition = {
        **DEFINITION,
        **{side: {"connection": side, "stream": "people"} for side in ends},
    }
    config = world.config(
        "people", definition=definition, left_connection_id=ends["left"], right_connection_id=ends["right"]
    )
    world.issue(config, ANN)
    return config


def _link(world: World, config: str) -> Link | None:
    with world.ctx.reads() as db:
        return db.scalar(select(Link).where(Link.config_id == config, Link.state == "linked"))


def test_two_records_are_linked_from_the_page_of_one(alice: Browser, world: World, config: str) -> None:
    page = f"/records/{config}?key={ANN}"
    assert "say which two records are one" in alice.text(page)
    sent = alice.post(f"/records/{config}/links", key=ANN, left="1", right="7")
    assert sent.status_code == 303
    assert "The systems are asked" in alice.text(sent.location)
    answer_all(world)
    told = alice.text(sent.location)
    assert "They are linked" in told and "Preview" in told
    link = _link(world, config)
    assert link is not None and (link.left_id, link.right_id) == ("1", "7")
    assert "are one record" in told
    assert "Record linked" in alice.text("/audit")


def test_what_is_not_there_is_not_linked(alice: Browser, world: World, config: str) -> None:
    sent = alice.post(f"/records/{config}/links", key=ANN, left="1", right="99")
    answer_all(world)
    told = alice.text(sent.location)
    assert "They were not linked" in told and "There is no record 99 on right." in told
    assert _link(world, config) is None
    sent = alice.post(f"/records/{config}/links", key=ANN, left="1", right=" ")
    assert "Enter the ids of both records." in alice.text(sent.location)


def test_a_pair_is_parted(alice: Browser, world: World, config: str) -> None:
    link_id = world.link(config, ANN)
    assert "They are not one" in alice.text(f"/records/{config}?key={ANN}")
    sent = alice.post(f"/records/{config}/links/{link_id}/end", key=ANN)
    told = alice.text(sent.location)
    assert "Parted." in told
    assert _link(world, config) is None
    assert 'value="L-ann@old.example"' in alice.get(sent.location).text  # to link them again


def test_somebody_says_that_a_lost_write_did_not_happen(alice: Browser, world: World, config: str) -> None:
    change = world.change(world.run(config), ANN, state="unknown", operation="create")
    assert "I looked: it did not happen" in alice.text(f"/records/{config}?key={ANN}")
    sent = alice.post(f"/records/{config}/lost/{change}", key=ANN)
    told = alice.text(sent.location)
    assert "The next run decides it again." in told and "I looked" not in told
    with world.ctx.reads() as db:
        assert db.get_one(Change, change).state == "abandoned"


def test_a_viewer_sees_no_way_to_do_it(vera: Browser, world: World, config: str) -> None:
    world.change(world.run(config), ANN, state="unknown", operation="create")
    told = vera.text(f"/records/{config}?key={ANN}")
    assert "Which record is which" not in told and "I looked" not in told


def test_programs_link_part_and_answer_too(caller: Callers, world: World, config: str) -> None:
    alice = caller("alice")
    asked = alice.post(f"/configs/{config}/links", {"left_id": "1", "right_id": "7"})
    assert asked.status_code == 202 and asked.json is not None
    assert asked.json["kind"] == "link"
    answer_all(world)
    link = _link(world, config)
    assert link is not None
    assert alice.json(f"/questions/{asked.json['id']}")["answer"] == {"link": link.id}
    assert alice.json(f"/configs/{config}/records?key={ANN}")["link_id"] == link.id
    assert alice.delete(f"/configs/{config}/links/{link.id}").status_code == 204
    assert alice.delete(f"/configs/{config}/links/{link.id}").status_code == 409
    assert _link(world, config) is None
    change = world.change(world.run(config), ANN, state="unknown")
    assert alice.post(f"/configs/{config}/lost/{change}").status_code == 204
    assert alice.post(f"/configs/{config}/lost/{change}").status_code == 409


def test_the_run_after_it_makes_them_agree(alice: Browser, world: World, config: str, tmp_path: Path) -> None:
    alice.post(f"/records/{config}/links", key=ANN, left="1", right="7")
    answer_all(world)
    run = alice.post(f"/configs/{config}/runs")
    assert work_off(world, str(run.location).rsplit("/", 1)[1]).state == "success"
    for side in ("left", "right"):
        with closing(sqlite3.connect(tmp_path / f"{side}.db")) as db:
            assert db.execute("SELECT name FROM people ORDER BY id").fetchall() == [("Ann",), ("Bob",)]


def test_what_was_linked_by_hand_is_in_sync_once_a_run_has_compared_it(
    alice: Browser, world: World, config: str
) -> None:
    alice.post(f"/records/{config}/links", key=ANN, left="9", right="9")
    answer_all(world)
    assert "no run has compared them yet" in alice.text(f"/records/{config}?key=9")
    world.change(world.run(world.config("another", workspace=OWN)), "9")
    assert "no run has compared them yet" in alice.text("/records?q=9")  # one of several
    run = alice.post(f"/configs/{config}/runs")
    work_off(world, str(run.location).rsplit("/", 1)[1])
    assert "Both sides held the same" in alice.text(f"/records/{config}?key=9")


def _agreed(alice: Browser, world: World, config: str) -> None:
    """A run has linked Bob on both sides and brought each Ann to the other side."""
    run = alice.post(f"/configs/{config}/runs")
    work_off(world, str(run.location).rsplit("/", 1)[1])


def _name(tmp_path: Path, side: str) -> str:
    with closing(sqlite3.connect(tmp_path / f"{side}.db")) as db:
        return str(db.execute("SELECT name FROM people WHERE email = 'bob@example.com'").fetchone()[0])


def test_X05_a_value_is_corrected_from_the_page_of_its_record(
    alice: Browser, world: World, config: str, tmp_path: Path
) -> None:
    _agreed(alice, world, config)
    key = "bob@example.com"
    assert "Correct a value" in alice.text(f"/records/{config}?key={key}")
    sent = alice.post(f"/records/{config}/corrections", key=key, side="right", field="name", value="Robert")
    answer_all(world)
    page = alice.get(sent.location).text
    assert "A run corrects it" in page
    [run_id] = set(re.findall(r'href="/runs/([^"]+)">see the run', page))
    assert work_off(world, run_id).state == "success"
    assert (_name(tmp_path, "left"), _name(tmp_path, "right")) == ("Robert", "Robert")
    assert "Record edited" in alice.text("/audit")
    told = alice.text(f"/records/{config}?key={key}")
    assert "Correct on right: written" in told and "corrected by alice@" in told
    assert "approved by" not in told and "Take as the same record" not in told


@pytest.mark.parametrize("operation", [*get_args(Operation), "edit", "fill", "container"])
def test_whatever_is_journalled_has_words_of_its_own(operation: str) -> None:
    assert operation in words.ACTS
    if operation not in ("edit", "fill"):  # which nothing holds
        assert operation in words.MANY_ACTS


def test_X05_a_correction_that_cannot_be_is_refused_in_a_sentence(
    alice: Browser, world: World, config: str, tmp_path: Path
) -> None:
    _agreed(alice, world, config)
    key = "bob@example.com"
    sent = alice.post(f"/records/{config}/corrections", key=key, side="up", field="name", value="x")
    assert "Choose a field and a side" in alice.text(sent.location)
    with closing(sqlite3.connect(tmp_path / "right.db")) as db, db:
        db.execute("DELETE FROM people WHERE id = 9")
    sent = alice.post(f"/records/{config}/corrections", key=key, side="right", field="name", value="x")
    answer_all(world)
    told = alice.text(sent.location)
    assert "It was not corrected" in told and "There is no record 9 on right." in told
    assert _name(tmp_path, "left") == "Bob"


def test_X05_programs_correct_too(
    caller: Callers, alice: Browser, world: World, config: str, tmp_path: Path
) -> None:
    _agreed(alice, world, config)
    program = caller("alice")
    wish = {"side": "left", "record_id": "9", "fields": {"name": None}}
    asked = program.post(f"/configs/{config}/corrections", wish)
    assert asked.status_code == 202 and asked.json is not None
    answer_all(world)
    run = program.json(f"/questions/{asked.json['id']}")["answer"]["run"]
    work_off(world, run)
    assert _name(tmp_path, "right") == "None"


def test_a_page_shows_no_answer_to_another_question(alice: Browser, world: World, config: str) -> None:
    other = questions.ask(world.ctx, OWN, QuestionKind.EXPLAIN, by="bob", config_id=config)
    asked = questions.ask(world.ctx, OWN, QuestionKind.LINK, by="bob", config_id=world.config("others"))
    for question in (other, asked):
        assert "The systems are asked" not in alice.text(f"/records/{config}?key={ANN}&asked={question}")

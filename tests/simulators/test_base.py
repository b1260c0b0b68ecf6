"""A simulator fails when it is told to, keeps a journal, and shows its cells to a person."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from flask import request
from werkzeug.wrappers import Request

from simulators.base import AFTER, BEFORE, PAGES, Column, Faults, Grid, Simulator, serving

START = datetime(2026, 3, 5, 12, tzinfo=UTC)


class Toy(Simulator):
    name = "toy"
    title = "Toy"
    api = ("/api/",)

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.cells = {"a": "first\nline", "b": "<b>"}

        @self.app.post("/api/<row>")
        def write(row: str) -> dict[str, str]:
            self.cells[row] = request.get_data(as_text=True)
            self.accept("write", "toys", row, {"text": self.cells[row]})
            return {"row": row, "seen": str(self.fault)}

    def grids(self) -> list[Grid]:
        rows = [(row, (row, text)) for row, text in self.cells.items()]
        return [Grid("toys", "Toys", (Column("row", editable=False), Column("text")), rows)]

    def put_cell(self, grid: str, row: str, column: str, text: str) -> None:
        if text == "bad":
            raise ValueError("No toy is bad.")
        self.cells[row] = text

    def add_row(self, grid: str) -> None:
        self.cells[f"new{len(self.cells)}"] = ""

    def remove_row(self, grid: str, row: str) -> None:
        del self.cells[row]

    def refuse(self, kind: str, call: Request) -> tuple[Any, int]:
        status = {"too_many": 429, "too_many_hint": 429, "expired": 401, "unavailable": 503}.get(kind, 500)
        return {"error": kind}, status


@pytest.fixture
def toy() -> Toy:
    return Toy(now=lambda: START, rand=random.Random(7).random)


@pytest.fixture
def url(toy: Toy) -> Iterator[str]:
    with serving(toy) as url:
        yield url


def post(url: str, row: str = "a", text: str = "new") -> httpx.Response:
    return httpx.post(f"{url}/api/{row}", content=text, trust_env=False)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("too_many", 429),
        ("too_many_hint", 429),
        ("error", 500),
        ("gateway", 502),
        ("unavailable", 503),
        ("expired", 401),
    ],
)
def test_a_refused_call_changes_nothing(toy: Toy, url: str, kind: str, status: int) -> None:
    toy.faults.plan(kind)
    answer = post(url)
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (kind == "too_many_hint")
    assert answer.headers["content-type"].startswith("text/html") == (kind == "gateway")
    assert (toy.cells["a"], toy.journal) == ("first\nline", [])
    assert post(url).status_code == 200
    assert [(call.status, call.fault) for call in toy.calls] == [(status, kind), (200, None)]


def test_a_connection_may_close_before_anything_is_done(toy: Toy, url: str) -> None:
    toy.faults.plan("closed")
    with pytest.raises(httpx.RemoteProtocolError):
        post(url)
    assert toy.journal == []


@pytest.mark.parametrize("kind", ["lost", "cut", "late_error"])
def test_a_call_may_be_carried_out_and_its_answer_lost(toy: Toy, url: str, kind: str) -> None:
    toy.faults.plan(kind)
    try:
        assert post(url).status_code == 500
    except httpx.RemoteProtocolError:
        assert kind != "late_error"
    assert [(done.operation, done.id, done.fields) for done in toy.journal] == [
        ("write", "a", {"text": "new"})
    ]


@pytest.mark.parametrize("kind", sorted(PAGES))
def test_a_fault_of_pages_is_told_to_the_system(toy: Toy, url: str, kind: str) -> None:
    toy.faults.plan(kind, call=2)
    assert [post(url).json()["seen"] for _ in range(3)] == ["None", kind, "None"]


def test_chance_is_a_share_of_the_calls_and_the_same_for_the_same_seed() -> None:
    def drawn() -> list[str | None]:
        faults = Faults(BEFORE | AFTER, random.Random(3).random)
        faults.chance("error", 0.2)
        faults.chance("cut", 0.1)
        return [faults.next() for _ in range(1000)]

    met = drawn()
    assert met == drawn()
    assert 150 < met.count("error") < 250 and 60 < met.count("cut") < 140


def test_a_fault_that_is_none_is_refused(toy: Toy) -> None:
    with pytest.raises(KeyError, match="there is no fault 'oops'"):
        toy.faults.plan("oops")


def test_the_page_shows_the_cells_and_nothing_of_them_is_markup(toy: Toy, url: str) -> None:
    page = httpx.get(url, trust_env=False).text
    assert "first\nline</textarea>" in page and "&lt;b&gt;</textarea>" in page
    assert toy.calls == [], "a person's look is no call"


def test_a_person_edits_adds_and_deletes(toy: Toy, url: str) -> None:
    cell = {"row": "a", "columns": "2", "name1": "text", "was1": "first\r\nline"}
    with httpx.Client(base_url=url, trust_env=False) as person:
        person.post("/cells/toys", data={**cell, "cell1": "first\r\nline", "act": "save"})
        assert toy.cells["a"] == "first\nline", "nothing was changed"
        assert person.post("/cells/toys", data={**cell, "cell1": "x\r\ny", "act": "save"}).status_code == 303
        assert toy.cells["a"] == "x\ny"
        refused = person.post("/cells/toys", data={**cell, "cell1": "bad", "act": "save"})
        assert refused.status_code == 400 and "No toy is bad." in refused.text
        person.post("/cells/toys", data={"act": "add"})
        person.post("/cells/toys", data={"act": "remove", "row": "b"})
    assert sorted(toy.cells) == ["a", "new2"]


def test_a_person_sets_the_faults(toy: Toy, url: str) -> None:
    httpx.post(f"{url}/faults", data={"error": "100", "cut": "", "latency": "0.01"}, trust_env=False)
    assert (toy.faults.chances, toy.latency) == ({"error": 1.0}, 0.01)
    assert post(url).status_code == 500
    httpx.post(f"{url}/faults", data={"error": "0"}, trust_env=False)
    assert post(url).status_code == 200

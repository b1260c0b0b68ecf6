"""Lists as files: the page's own filter, audited, and nothing in them that a spreadsheet would compute."""

from __future__ import annotations

import csv
import io
import json

import pytest
from sqlalchemy import select

from models.audit import AuditEvent
from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.world import NOW, World, summary
from web.export import as_csv, is_formula, safe
from web.reads import query

RISKY = [
    "=LEN(B2)",
    " =1+1",
    "\ufeff=1",
    "\u200b@SUM(A1)",
    "@x",
    "+2-3",
    "+44 20 7946 0018",
    "-",
    "-2+3+cmd|' /C calc'!A0",
    "\u2212A1",
    "\ttotal",
    "\rtotal",
    "\ntotal",
    "\x00x",
    "\uff1d1+1",  # full-width "="
    "\u00a0=1",
    "--1",
    "+",
    "-1-1",
    "+1,0000",
]
HARMLESS = [
    "",
    "-12.75",
    "+3",
    "\u22125",
    "-1,234,567.50",
    "-.5",
    "-1e5",
    "+1E-3",
    "size=10",
    "R+D",
    "a@example.com",
    "x\ty",
    "  12",
    "'=1",
    "0",
    "Søren",
]


@pytest.mark.parametrize("text", RISKY)
def test_formulas_get_a_quote(text: str) -> None:
    assert is_formula(text)
    assert safe(text) == "'" + text


@pytest.mark.parametrize("text", HARMLESS)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert safe(text) == text


# What a spreadsheet that splits at semicolons, tabs or line ends, whatever the quotes say, would compute.
BEHIND_A_SEPARATOR = {
    "a;=1+1": "a;'=1+1",
    "a;=cmd|' /C calc'!A0;": "a;'=cmd|' /C calc'!A0;",
    "a; =1;b;@x": "a;' =1;b;'@x",
    "a\t=1": "a\t'=1",
    "a\n=1": "a\n'=1",
    "a\r\n=1": "a\r\n'=1",
    "a\r=1": "a\r'=1",
    'a;"=1+1': "a;'\"=1+1",
    'a;""=1+1': 'a;\'""=1+1',
    "a;\ufeff=1": "a;'\ufeff=1",
    "a;+1-1": "a;'+1-1",
    "=1;=2": "'=1;'=2",
    ";=1": ";'=1",
    "a;\u200b;=1": "a;\u200b;'=1",
}
SEPARATED = ["a;b", "a;-1;+2", "a;size=1", "x\ny: 1", "a;", ";", 'a;"b"', "a,=1", "a|=1", "a\n\nb"]


@pytest.mark.parametrize(("text", "written"), BEHIND_A_SEPARATOR.items())
def test_a_formula_behind_another_separator_gets_a_quote_where_it_begins(text: str, written: str) -> None:
    assert safe(text) == written


@pytest.mark.parametrize("text", SEPARATED)
def test_separators_before_what_is_no_formula_stay_as_they_are(text: str) -> None:
    assert safe(text) == text


@pytest.mark.parametrize("separator", [";", "\t"])
def test_no_part_of_a_file_is_a_formula_however_it_is_split(separator: str) -> None:
    cells = [*RISKY, *HARMLESS, *BEHIND_A_SEPARATOR, *SEPARATED, 'x";=1+1;"', '";"=1+1']
    written = "".join(as_csv(["one", "two"], [["plain", cell] for cell in cells]))
    # As such programs read it: a quote counts at the beginning of a cell only.
    seen = [
        part for line in csv.reader(io.StringIO(written, newline=""), delimiter=separator) for part in line
    ]
    assert [part for part in seen if is_formula(part)] == []
    raw = [part for line in written.splitlines() for part in line.split(separator)]
    assert [part for part in raw if is_formula(part.replace('"', ""))] == []


def rows(body: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body, newline="")))


def test_runs_are_exported_with_the_filter_of_the_page(vera: Browser, world: World) -> None:
    config = world.config('=HYPERLINK("x")')
    world.run(config)
    world.run(config, RunState.FAILED, error="Line one\nline two, with a comma")
    response = vera.post("/runs/exports", form="csv", state="failed")
    assert response.headers["Content-Disposition"] == 'attachment; filename="syncline-runs.csv"'
    assert response.headers["Cache-Control"] == "no-store"
    [row] = rows(response.text)
    assert row["sync"] == '\'=HYPERLINK("x")'
    assert row["error"] == "Line one\nline two, with a comma"
    assert row["finished_at"] == "2026-11-23T14:04:30Z"
    everything = json.loads(vera.post("/runs/exports", form="json").text)
    assert len(everything) == 2
    assert everything[1]["right_updated"] == 1


def test_each_export_is_audited(vera: Browser, world: World) -> None:
    world.run(world.config())
    vera.post("/runs/exports", form="json")
    with world.ctx.reads() as db:
        [event] = db.scalars(select(AuditEvent).where(AuditEvent.action == "export.taken"))
    assert (event.actor, event.subject, event.detail) == (
        "vera@example.com",
        "runs",
        {"rows": 1, "form": "json"},
    )


def test_changes_issues_and_conflicts_are_exported(alice: Browser, charlie: Browser, world: World) -> None:
    config = world.config()
    run = world.run(config)
    world.change(run, after={"name": "=1+1"})
    world.issue(config)
    world.conflict(config)
    [change] = rows(alice.post(f"/runs/{run}/exports", form="csv").text)
    assert (change["field"], change["before"], change["after"]) == ("name", "Mary", "'=1+1")
    assert [row["record"] for row in rows(alice.post("/issues/exports").text)] == ["mary@example.com"]
    assert [row["left"] for row in rows(alice.post("/conflicts/exports").text)] == ["Marie"]
    assert rows(alice.post("/audit/exports").text)[0]["actor"] == "alice@example.com"
    assert charlie.post(f"/runs/{run}/exports", form="csv").status_code == 404
    for path in ("/issues/exports", "/conflicts/exports", "/runs/exports"):
        assert rows(charlie.post(path, form="csv").text) == []


def test_a_file_is_whole_however_many_pages_it_is_read_in(
    alice: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.config()
    made = {world.run(config, created_at=NOW) for _ in range(8)}
    run = next(iter(made))
    for number in range(8):
        world.change(run, f"k{number}")
    monkeypatch.setattr(query, "AT_ONCE", 3)
    found = [row["run"] for row in rows(alice.post("/runs/exports").text)]
    assert len(found) == 8
    assert set(found) == made
    assert len(json.loads(alice.post("/runs/exports", form="json").text)) == 8
    changes = rows(alice.post(f"/runs/{run}/exports").text)
    assert [row["record"] for row in changes] == [f"k{number}" for number in range(8)]


def test_an_empty_list_is_a_file_too(alice: Browser) -> None:
    assert rows(alice.post("/runs/exports").text) == []
    assert json.loads(alice.post("/runs/exports", form="json").text) == []


def test_another_form_is_refused(alice: Browser, world: World) -> None:
    assert alice.post("/runs/exports", form="exe").status_code == 400


def test_held_changes_and_syncs_are_exported_with_the_filter_of_their_page(
    vera: Browser, charlie: Browser, world: World
) -> None:
    config, other = world.config("orders"), world.config("quiet")
    run = world.run(config, RunState.PARTIAL, summary=summary(held=1))
    world.run(other)
    world.change(run, "gone", state="held", guard="mass_delete", operation="delete", after=None)
    world.change(run, "no", state="dismissed", guard="mass_delete")
    [held] = rows(vera.post("/held/exports").text)
    assert (held["sync"], held["record"], held["guard"], held["before"]) == (
        "orders",
        "gone",
        "mass_delete",
        "Mary",
    )
    assert [row["record"] for row in rows(vera.post("/held/exports", state="dismissed").text)] == ["no"]
    assert [row["sync"] for row in rows(vera.post("/configs/exports").text)] == ["orders", "quiet"]
    [needy] = json.loads(vera.post("/configs/exports", form="json", state="attention").text)
    assert (needy["sync"], needy["last_state"], needy["held"]) == ("orders", "partial", 1)
    assert rows(charlie.post("/held/exports").text) == rows(charlie.post("/configs/exports").text) == []

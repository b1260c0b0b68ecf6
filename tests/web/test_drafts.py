"""A first sync is put together from nothing: two real systems, a proposal, a preview, and then it runs."""

from __future__ import annotations

import re
import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from sqlalchemy import select

from connectors.base import Access
from models.drafts import Draft
from models.questions import Question
from models.sync_configs import SyncConfig
from models.sync_runs import SyncRun
from tasks import drafts, execute, questions, shift
from tasks.context import Context
from tasks.heartbeat import Heartbeat
from tests.web.browser import Browser
from tests.web.world import OWN, Clock, World, make_context

SHEET = "E-mail,Customer,Balance\nann@example.com,Ann,10\nbob@example.com,Bob,20\ncy@example.com,Cy,30\n"


@pytest.fixture
def clock() -> Clock:
    """Files are made and read here: their times are of today, and so is whoever signs in."""
    return Clock(datetime.now(UTC))


@pytest.fixture
def ctx(tmp_path: Path, clock: Clock) -> Context:
    """May reach the files of this test."""
    return replace(make_context(tmp_path, clock), access=Access(folders=(tmp_path,)))


@pytest.fixture
def ends(alice: Browser, tmp_path: Path) -> tuple[str, str]:
    """A database and a folder of sheets, connected by the forms; their ids."""
    with sqlite3.connect(tmp_path / "crm.db") as db:
        db.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT, name TEXT, balance NUMERIC)")
        rows = [("ann@example.com", "Ann", 10), ("dee@example.com", "Dee", 40)]
        db.executemany("INSERT INTO customers (email, name, balance) VALUES (?, ?, ?)", rows)
    db.close()
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "customers.csv").write_text(SHEET)
    made = [
        alice.post("/connections", connector="sql", name="my crm", url=f"sqlite:///{tmp_path / 'crm.db'}"),
        alice.post("/connections", connector="csv", name="my sheets", folder=str(tmp_path / "sheets")),
    ]
    assert [response.status_code for response in made] == [303, 303], made[0].text[-2000:]
    left, right = (str(response.location).rsplit("/", 1)[1] for response in made)
    return left, right


def answer_all(world: World) -> None:
    """What the control queue does."""
    with world.ctx.reads() as db:
        waiting = db.scalars(select(Question.id).where(Question.state == "asked")).all()
    for question_id in waiting:
        questions.answer(world.ctx, question_id)


def work_off(world: World, run_id: str) -> SyncRun:
    """What a worker does."""
    beat = Heartbeat(world.ctx, "worker", threading.Event(), sweeps=False)
    shift.work(world.ctx, beat, run_id, execute.carry_out)
    beat._engine.dispose()
    with world.ctx.reads() as db:
        return db.get_one(SyncRun, run_id)


def begun(alice: Browser, world: World, ends: tuple[str, str]) -> str:
    response = alice.post("/drafts", left=ends[0], right=ends[1])
    assert response.status_code == 303
    page = str(response.location).rsplit("/", 1)[0]
    assert "Asking both systems what they hold" in alice.text(f"{page}/streams")
    answer_all(world)
    return page


def with_streams(alice: Browser, world: World, ends: tuple[str, str]) -> str:
    page = begun(alice, world, ends)
    chosen = {"left-stream": "customers", "right-stream": "customers.csv", "right-key": "E-mail"}
    assert alice.post(f"{page}/streams", **chosen).location == f"{page}/fields"
    assert "Reading a few records" in alice.text(f"{page}/fields")
    answer_all(world)
    return page


def form_of(page: str) -> dict[str, str]:
    """What a browser would send of the selects and ticks as they stand."""
    sent = {}
    for name, body in re.findall(r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', page, re.S):
        chosen = re.findall(r'<option value="([^"]*)" selected>', body)
        sent[name] = chosen[0] if chosen else ""
    sent |= dict.fromkeys(re.findall(r'type="checkbox"[^>]* name="([^"]+)"[^>]* checked', page), "yes")
    return sent


def drafted(alice: Browser, world: World, ends: tuple[str, str]) -> str:
    page = with_streams(alice, world, ends)
    assert alice.post(f"{page}/fields", **form_of(alice.text(f"{page}/fields"))).location == f"{page}/rules"
    rules = {"direction": "bidirectional", "conflict": "left_wins", "first_run": "apply"}
    assert alice.post(f"{page}/rules", **rules).location == f"{page}/schedule"
    schedule = {"name": "customers", "cron": "*/15 * * * *", "timezone": "Europe/Paris"}
    assert alice.post(f"{page}/schedule", **schedule).location == f"{page}/review"
    return page


def test_a_first_sync_is_made_from_nothing(
    alice: Browser, world: World, ends: tuple[str, str], tmp_path: Path
) -> None:
    page = drafted(alice, world, ends)
    review = alice.words(f"{page}/review")
    assert "3 pairs, matched by email" in review and "E-mail" in review
    preview_page = alice.post(f"{page}/completion").location
    preview = work_off(world, preview_page.rsplit("/", 1)[1])
    assert preview.state == "success", preview.error
    assert (preview.summary or {})["right"]["created"] == 1
    assert (preview.summary or {})["left"]["created"] == 2
    assert "Switch it on" in alice.text(preview_page)
    told = alice.words(preview_page)
    assert "To create 2" in told and "Would be written 3" in told, "this is what there is to look at"
    assert (tmp_path / "sheets" / "customers.csv").read_text() == SHEET, "a preview writes nothing"
    started = alice.post(f"/drafts/starts/{preview.config_id}").location
    run = work_off(world, started.rsplit("/", 1)[1])
    assert run.state == "success", (run.error, run.summary)
    assert "dee@example.com,Dee,40" in (tmp_path / "sheets" / "customers.csv").read_text()
    with sqlite3.connect(tmp_path / "crm.db") as db:
        names = {name for (name,) in db.execute("SELECT name FROM customers")}
    db.close()
    assert names == {"Ann", "Bob", "Cy", "Dee"}
    with world.ctx.reads() as session:
        assert session.scalars(select(Draft)).all() == []
        config = session.get_one(SyncConfig, run.config_id)
        assert config.auto and config.owner_id == "user-alice" and config.next_run_at is not None


def test_pairs_are_proposed_with_values_of_both_sides(
    alice: Browser, world: World, ends: tuple[str, str]
) -> None:
    page = with_streams(alice, world, ends)
    form = form_of(alice.text(f"{page}/fields"))
    chosen = {value for name, value in form.items() if name.startswith("right-")}
    assert chosen == {"", "E-mail", "Customer", "Balance"}
    text = alice.words(f"{page}/fields")
    assert "ann@example.com" in text and "same meaning" in text and "made by the system" in text


def test_what_was_proposed_stays_as_it_was_looked_at(
    alice: Browser, world: World, ends: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = with_streams(alice, world, ends)
    first = form_of(alice.text(f"{page}/fields"))
    monkeypatch.setattr(drafts, "propose", lambda left, right: pytest.fail("it was proposed once"))
    assert form_of(alice.text(f"{page}/fields")) == first
    with world.ctx.reads() as db:
        kept = db.scalars(select(Draft)).one().proposal
    assert kept == {
        "pairs": {
            "email": ["E-mail", "same name"],
            "balance": ["Balance", "same name"],
            "name": ["Customer", "same meaning"],
        },
        "match": ["email"],
    }
    assert "ann@example.com" not in str(kept), "values are forgotten sooner than a draft"


def test_an_answer_that_comes_at_once_is_not_lost_on_the_draft(
    ctx: Context, world: World, ends: tuple[str, str]
) -> None:
    """The control queue may be quicker than whoever asked."""

    def answer(question_id: str) -> None:
        questions.answer(ctx, question_id)

    quick = replace(ctx, ask=answer)
    draft = drafts.begin(quick, OWN, *ends, by="alice@example.com")
    chosen = {"left": {"stream": "customers"}, "right": {"stream": "customers.csv", "key": "E-mail"}}
    drafts.choose_streams(quick, draft, chosen, by="alice@example.com")
    with ctx.reads() as db:
        proposal = db.get_one(Draft, draft).proposal
    assert proposal is not None and proposal["match"] == ["email"]


def test_other_streams_have_another_proposal(alice: Browser, world: World, ends: tuple[str, str]) -> None:
    page = with_streams(alice, world, ends)
    made = {"left-stream": "customers", "right-new": "fresh.csv", "right-key": "email"}
    assert alice.post(f"{page}/streams", **made).location == f"{page}/fields"
    answer_all(world)
    chosen = {value for name, value in form_of(alice.text(f"{page}/fields")).items() if "right-" in name}
    assert chosen == {"", "email", "name", "balance"}


def test_a_step_cannot_be_taken_before_what_it_builds_on(
    alice: Browser, world: World, ends: tuple[str, str]
) -> None:
    page = begun(alice, world, ends)
    assert alice.get(f"{page}/rules").location == f"{page}/streams"
    assert alice.get(f"{page}/review").location == f"{page}/streams"
    assert alice.get(f"{page}/nothing").status_code == 404


def test_a_mistake_is_told_on_its_step_and_nothing_is_kept(
    alice: Browser, world: World, ends: tuple[str, str]
) -> None:
    page = begun(alice, world, ends)
    response = alice.post(f"{page}/streams", **{"left-stream": "customers"})
    assert response.status_code == 422 and "'stream' is missing" in response.text.replace("&#39;", "'")
    page = with_streams(alice, world, ends)
    response = alice.post(f"{page}/fields")
    assert response.status_code == 422 and "Pair at least one field" in response.text
    alice.post(f"{page}/fields", **form_of(alice.text(f"{page}/fields")))
    response = alice.post(f"{page}/rules", direction="bidirectional", conflict="newest_wins")
    assert response.status_code == 422 and "ewest_wins needs" in response.text
    response = alice.post(f"{page}/schedule", name="x", cron="61 * * * *", timezone="UTC")
    assert response.status_code == 422
    response = alice.post(f"{page}/schedule", name="x", cron="0 * * * *", timezone="Mars/Base")
    assert response.status_code == 422 and "Mars/Base" in response.text
    with world.ctx.reads() as db:
        assert db.scalars(select(SyncConfig)).all() == []


def test_the_next_times_show_while_a_schedule_is_typed(alice: Browser) -> None:
    assert "06:00" in alice.words("/drafts/times?cron=0+6+*+*+*&timezone=UTC")
    assert "Only when somebody starts it" in alice.words("/drafts/times?cron=&timezone=UTC")
    assert "61" in alice.words("/drafts/times?cron=61+*+*+*+*&timezone=UTC")


def test_a_system_that_does_not_answer_can_be_asked_again(
    alice: Browser, world: World, ends: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "crm.db").rename(tmp_path / "away.db")
    page = begun(alice, world, ends)
    text = alice.words(f"{page}/streams")
    assert "Ask again" in text and "my crm" in text
    (tmp_path / "away.db").rename(tmp_path / "crm.db")
    assert alice.post(f"{page}/questions", step="streams").location == f"{page}/streams"
    answer_all(world)
    assert "customers, 4 fields" in alice.words(f"{page}/streams")


def test_a_change_is_refused_when_somebody_else_was_quicker(
    alice: Browser, world: World, ends: tuple[str, str]
) -> None:
    page = drafted(alice, world, ends)
    config = str(work_off(world, alice.post(f"{page}/completion").location.rsplit("/", 1)[1]).config_id)
    first, second = (
        str(alice.post(f"/drafts/changes/{config}").location).rsplit("/", 1)[0] for _ in range(2)
    )
    answer_all(world)
    for draft, cron in ((first, "0 * * * *"), (second, "0 6 * * *")):
        assert alice.post(f"{draft}/schedule", cron=cron, timezone="UTC").location == f"{draft}/review"
    assert alice.post(f"{first}/completion").location == f"/configs/{config}"
    late = alice.post(f"{second}/completion")
    assert late.status_code == 422 and "has changed since" in late.text
    with world.ctx.reads() as db:
        row = db.get_one(SyncConfig, config)
        assert (row.cron, row.version) == ("0 * * * *", 2)
        fields = row.definition["fields"]
    assert len(fields) == 3, "what the form does not say stays as it was"


def test_an_operator_and_another_workspace_put_nothing_together(
    alice: Browser, bob: Browser, charlie: Browser, world: World, ends: tuple[str, str]
) -> None:
    assert bob.get("/drafts/new").status_code == 403
    assert bob.post("/drafts", left=ends[0], right=ends[1]).status_code == 403
    assert charlie.post("/drafts", left=ends[0], right=ends[1]).status_code == 404
    page = begun(alice, world, ends)
    assert charlie.get(f"{page}/streams").status_code == 404
    assert "New sync" not in bob.text("/configs")


def test_a_sync_that_is_started_by_hand_only_is_never_switched_on(
    alice: Browser, bob: Browser, vera: Browser, world: World, ends: tuple[str, str]
) -> None:
    page = drafted(alice, world, ends)
    assert alice.post(f"{page}/schedule", name="customers", cron="").location == f"{page}/review"
    preview_page = alice.post(f"{page}/completion").location
    config = str(work_off(world, preview_page.rsplit("/", 1)[1]).config_id)
    for where in (preview_page, f"/configs/{config}"):
        assert "Switch it on" not in alice.text(where)
        assert "Run it now" in alice.text(where) and "Run it now" in bob.text(where)
        assert "Run it now" not in vera.text(where)
    refused = alice.post(f"/drafts/starts/{config}")
    assert refused.status_code == 409 and "has no schedule" in unescape(refused.text)
    run = work_off(world, alice.post(f"/configs/{config}/runs").location.rsplit("/", 1)[1])
    assert run.state == "success"
    with world.ctx.reads() as db:
        row = db.get_one(SyncConfig, config)
        assert not row.auto and row.next_run_at is None

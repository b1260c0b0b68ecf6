"""Schedules, upkeep, connections and the audit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from models.circuits import Circuit
from models.maintenance import JobExecution, MaintenanceJob
from sync.schedule import read_schedule
from tests.web.browser import Browser
from tests.web.world import NOW, OWN, World
from web.reads.definition import upcoming


def test_schedules_are_told_in_words_with_the_next_times(alice: Browser, world: World) -> None:
    world.config("hourly", cron="0 * * * *", timezone="Europe/Paris")
    world.config("paused", paused_at=NOW)
    world.config("by hand", auto=False)
    page = alice.words("/schedules")
    assert "hourly" in page
    assert "Europe/Paris time" in page
    assert "today 15:" in page
    assert "none while it is paused" in page
    assert "Only when somebody starts it" in page


def test_the_next_times_move_on_when_the_first_of_them_has_come() -> None:
    schedule = read_schedule("0 * * * *", "UTC")
    for minutes in (0, 30, 59, 60, 61, 0):  # the last: a clock that was set back
        now = NOW + timedelta(minutes=minutes)
        assert upcoming(schedule, now, 3) == schedule.next_times(now, 3)


@pytest.fixture
def jobs(world: World) -> str:
    """One of the installation's own jobs."""
    with world.write() as db:
        db.add(MaintenanceJob(name="cleanup-old-logs", next_run_at=NOW))
        db.flush()
        db.add(
            JobExecution(
                job_name="cleanup-old-logs",
                state="success",
                asked_by="schedule",
                created_at=NOW,
                finished_at=NOW,
                result={"runs_removed": 12},
            )
        )
    return "cleanup-old-logs"


def test_upkeep_is_shown_run_and_switched_off(alice: Browser, world: World, jobs: str) -> None:
    assert "runs removed 12" in alice.text("/schedules")
    assert alice.post(f"/schedules/jobs/{jobs}/executions").status_code == 303
    assert "Asked for" in alice.text("/schedules")
    alice.post(f"/schedules/jobs/{jobs}/pause")
    assert "by hand only" in alice.text("/schedules")
    with world.ctx.reads() as db:
        assert db.get_one(MaintenanceJob, jobs).enabled is False
        assert db.scalars(select(JobExecution.asked_by).where(JobExecution.state == "asked")).all() == [
            "alice@example.com"
        ]
    alice.post(f"/schedules/jobs/{jobs}/resumption")
    with world.ctx.reads() as db:
        assert db.get_one(MaintenanceJob, jobs).enabled is True
    assert alice.post("/schedules/jobs/nothing/executions").status_code == 404


def test_upkeep_belongs_to_those_who_look_after_the_installation(
    bob: Browser, charlie: Browser, world: World, jobs: str
) -> None:
    for visitor, status in ((bob, 403), (charlie, 404)):
        assert "Upkeep" not in visitor.text("/schedules")
        for act in ("executions", "pause", "resumption"):
            assert visitor.post(f"/schedules/jobs/{jobs}/{act}").status_code == status


def test_connections_tell_who_uses_them_and_whether_they_answer(
    alice: Browser, vera: Browser, charlie: Browser, world: World
) -> None:
    world.config("customers")
    with world.write() as db:
        db.add(
            Circuit(
                connection_id=f"{OWN}-crm",
                workspace_id=OWN,
                failures=5,
                code="unavailable",
                message="No route to host.",
                opened_at=NOW,
                probe_at=NOW,
                updated_at=NOW,
            )
        )
        from models.connections import Connection

        connection = db.get_one(Connection, f"{OWN}-sheets")
        connection.options, connection.secrets = {"folder": "/srv/sheets"}, "v1.local.nonce.sealed"
    page = alice.words("/connections")
    assert "crm" in page
    assert "Away" in page
    assert "The system could not be reached: No route to host." in page
    assert "customers" in page
    assert "/srv/sheets" in page
    assert "v1.local" not in page
    assert "/srv/sheets" not in vera.text("/connections"), "options are for those who may change them"
    assert "customers" not in charlie.text("/connections")


def test_the_audit_tells_who_did_what_and_why(
    alice: Browser, bob: Browser, charlie: Browser, world: World
) -> None:
    config = world.config()
    bob.post(f"/configs/{config}/pause", reason="The CRM moves")
    page = alice.words("/audit")
    assert "Config paused" in page
    assert "“The CRM moves”" in page
    assert f'href="/configs/{config}"' in alice.text("/audit")
    assert "The CRM moves" in alice.text("/audit?actor=bob@example.com&action=config.paused")
    assert "Nothing matches" in alice.text("/audit?actor=nobody@example.com")
    assert bob.get("/audit").status_code == 403
    assert "The CRM moves" not in charlie.text("/audit")

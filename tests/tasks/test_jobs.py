"""Maintenance jobs run when they are due or asked for, never beside themselves, and say what they did."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select

from models.audit import AuditEvent
from models.bulk import BulkPart, BulkRetry
from models.drafts import Draft
from models.issues import Alert, Conflict, Issue
from models.journal import Change
from models.links import Link
from models.maintenance import JobExecution, MaintenanceJob
from models.people import User, WebSession
from models.processes import Process
from models.sync_runs import RunLine, RunState, SyncRun
from models.tables import metadata
from tasks import due, jobs, people, runs
from tasks.errors import NotFound, Stopping, WorkError, WrongState
from tasks.jobs import Duty, Job, JobOptions
from tests.tasks.world import World

WHO = "alice@example.org"
CLEANUP = "cleanup-old-logs"


class Probe:
    """A job for these tests: counts its executions, and does what it is told meanwhile."""

    def __init__(self) -> None:
        self.done = 0
        self.meanwhile: Callable[[Duty], object] = lambda duty: None

    def work(self, duty: Duty, options: JobOptions) -> Mapping[str, int]:
        self.done += 1
        self.meanwhile(duty)
        return {"done": self.done}


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Probe]:
    probe = Probe()
    job = Job(name="probe", sentence="Probes.", work=probe.work, options=JobOptions, cron="*/10 * * * *")
    monkeypatch.setattr(jobs, "registry", lambda: {"probe": job})
    yield probe


def test_every_job_of_the_folder_is_listed_with_its_sentence_and_its_time(world: World) -> None:
    found = {view.name: view for view in jobs.listed(world.ctx)}
    assert {CLEANUP, "run-auto-syncs"} <= set(found)
    cleanup = found[CLEANUP]
    assert cleanup.schedule == "At 02:00 every day, UTC time" and cleanup.enabled
    assert cleanup.sentence.endswith(".") and cleanup.last is None
    assert cleanup.next_run_at is not None
    assert (cleanup.next_run_at.hour, cleanup.next_run_at.minute) == (2, 0)
    assert found["run-auto-syncs"].schedule == "Only when asked"
    assert found["run-auto-syncs"].next_run_at is None


def test_a_job_runs_when_it_is_due_once(world: World, probe: Probe) -> None:
    assert due.tick(world.ctx).jobs == 0, "its first time is its next slot"
    world.advance(600)
    assert due.tick(world.ctx).jobs == 1
    assert due.tick(world.ctx).jobs == 0
    world.advance(3 * 3600)
    assert due.tick(world.ctx).jobs == 1, "what was missed is done once"
    executions = jobs.history(world.ctx, "probe")
    assert [(item.state, item.asked_by, item.result) for item in executions] == [
        ("success", "schedule", {"done": 2}),
        ("success", "schedule", {"done": 1}),
    ]


def test_ticks_at_once_carry_a_job_out_once(world: World, probe: Probe) -> None:
    jobs.listed(world.ctx)
    world.advance(600)
    threads = [threading.Thread(target=jobs.run_due, args=(world.ctx,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert probe.done == 1


def test_a_job_does_not_start_beside_itself(world: World, probe: Probe) -> None:
    refused: list[str] = []

    def again(duty: Duty) -> None:
        with pytest.raises(WrongState) as refusal:
            jobs.run_now(world.ctx, "probe", asked_by=WHO)
        refused.append(refusal.value.message)
        with world.ctx.sessions.begin() as db:
            db.get_one(MaintenanceJob, "probe").next_run_at = world.now()
        assert jobs.run_due(world.ctx) == 0

    probe.meanwhile = again
    jobs.run_now(world.ctx, "probe", asked_by=WHO)
    assert refused == ["The job 'probe' is running already."]
    assert probe.done == 1


def test_a_job_whose_process_died_can_start_again(world: World, probe: Probe) -> None:
    def die(duty: Duty) -> None:
        raise SystemExit

    probe.meanwhile = die
    with pytest.raises(SystemExit):
        jobs.run_now(world.ctx, "probe", asked_by=WHO)
    probe.meanwhile = lambda duty: None
    with pytest.raises(WrongState):
        jobs.run_now(world.ctx, "probe", asked_by=WHO)
    world.advance(61)
    assert jobs.run_now(world.ctx, "probe", asked_by=WHO).state == "success"
    assert "died" in (jobs.history(world.ctx, "probe")[1].error or "")


def test_a_job_that_fails_says_so_and_holds_up_nothing(world: World, probe: Probe) -> None:
    def fail(duty: Duty) -> None:
        raise KeyError("oops")

    probe.meanwhile = fail
    execution = jobs.run_now(world.ctx, "probe", asked_by=WHO)
    assert execution.state == "failed" and "error id" in (execution.error or "")


def test_a_job_that_is_told_to_stop_stops_between_batches(world: World, probe: Probe) -> None:
    probe.meanwhile = lambda duty: duty.checkpoint()
    execution = jobs.run_now(world.ctx, "probe", asked_by=WHO, stop=lambda: True)
    assert execution.state == "failed" and "stopped" in (execution.error or "")
    with pytest.raises(Stopping):
        Duty(world.ctx, execution.id, WHO, lambda: True).checkpoint()


def test_a_job_that_is_asked_for_runs_with_the_next_tick_whoever_asked_first(
    world: World, probe: Probe
) -> None:
    first = jobs.ask(world.ctx, "probe", by=WHO)
    assert jobs.ask(world.ctx, "probe", by="bob@example.org") == first
    assert due.tick(world.ctx).jobs == 1
    (execution,) = jobs.history(world.ctx, "probe")
    assert (execution.id, execution.asked_by, execution.state) == (first, WHO, "success")


def test_a_job_that_is_switched_off_runs_only_by_hand(world: World, probe: Probe) -> None:
    jobs.switch(world.ctx, "probe", on=False, by=WHO)
    world.advance(3600)
    assert jobs.run_due(world.ctx) == 0
    assert jobs.run_now(world.ctx, "probe", asked_by=WHO).state == "success"
    jobs.switch(world.ctx, "probe", on=True, by=WHO)
    world.advance(600)
    assert jobs.run_due(world.ctx) == 1
    with world.ctx.reads() as db:
        acts = db.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert acts == ["job.switched_off", "job.run", "job.switched_on"]


def test_a_wrong_name_or_option_is_answered_with_the_right_one(small_world: World) -> None:
    with pytest.raises(NotFound, match="cleanup-old-logs"):
        jobs.run_now(small_world.ctx, "cleanup-old-log", asked_by=WHO)
    with pytest.raises(WorkError, match="retentionDays"):
        jobs.run_now(small_world.ctx, CLEANUP, asked_by=WHO, options={"retentionDays": 0})
    with pytest.raises(WorkError, match="days"):
        jobs.run_now(small_world.ctx, CLEANUP, asked_by=WHO, options={"days": 3})


# -- the clean-up ----------------------------------------------------------------------------------


def ended_run(world: World, config: str, *, days_ago: float, state: RunState = RunState.SUCCESS) -> str:
    at = world.now() - timedelta(days=days_ago)
    with world.ctx.sessions.begin() as db:
        row = runs.new_run(world.ctx, world.config_row(config), at, asked_by=WHO)
        row.state, row.finished_at = state.value, at
        db.add(row)
        db.flush()
        db.add(RunLine(run_id=row.id, at=at, level="info", text="done"))
        return row.id


def change(
    world: World, run_id: str, *, days_ago: float, operation: str = "create", state: str = "applied"
) -> int:
    at = world.now() - timedelta(days=days_ago)
    run = world.run(run_id)
    with world.ctx.sessions.begin() as db:
        row = Change(
            marker=world.new_id(),
            workspace_id=run.workspace_id,
            config_id=run.config_id,
            run_id=run_id,
            side="left",
            operation=operation,
            key="k",
            rule="r",
            fingerprint="f",
            state=state,
            created_at=at,
            settled_at=at,
        )
        db.add(row)
        db.flush()
        return row.id


def ids(world: World, column: Any) -> set[Any]:
    with world.ctx.reads() as db:
        return set(db.scalars(select(column)))


def clean(world: World, **options: Any) -> dict[str, int]:
    execution = jobs.run_now(world.ctx, CLEANUP, asked_by=WHO, options=options)
    assert execution.state == "success", execution.error
    return dict(execution.result or {})


def test_old_runs_go_with_their_journal_and_lines_and_new_ones_stay(world: World) -> None:
    config = world.config()
    old = [ended_run(world, config, days_ago=40) for _ in range(120)]
    for run_id in old[:3]:
        change(world, run_id, days_ago=40)
    young = ended_run(world, config, days_ago=10)
    change(world, young, days_ago=10)
    result = clean(world)
    assert (result["runs"], result["changes"], result["retention_days"]) == (120, 3, 30)
    assert ids(world, SyncRun.id) == {young}
    assert len(ids(world, RunLine.id)) == 1 and len(ids(world, Change.id)) == 1
    assert clean(world)["runs"] == 0, "once more changes nothing"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite's driver counts too late
def test_no_more_than_fifty_runs_go_at_once_so_that_nobody_waits_for_the_clean_up(world: World) -> None:
    config = world.config()
    for _ in range(120):
        ended_run(world, config, days_ago=40)
    batches: list[int] = []

    def note(_connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("DELETE FROM sync_runs"):
            batches.append(cursor.rowcount)

    event.listen(world.engine, "after_cursor_execute", note)
    clean(world)
    event.remove(world.engine, "after_cursor_execute", note)
    assert sum(batches) == 119, "the newest run of the sync stays"
    assert max(batches) == 50


def test_the_retention_can_be_given(world: World) -> None:
    config = world.config()
    ended_run(world, config, days_ago=8)
    young = ended_run(world, config, days_ago=1)
    assert clean(world, retentionDays=7)["runs"] == 1
    assert ids(world, SyncRun.id) == {young}


def test_what_waits_for_somebody_stays_with_its_run(world: World) -> None:
    config = world.config()
    old = ended_run(world, config, days_ago=400)
    held = {change(world, old, days_ago=400, state=state) for state in ("held", "unknown", "dismissed")}
    for state in ("rejected", "would_go", "would_wait"):
        change(world, old, days_ago=400, state=state)
    ended_run(world, config, days_ago=1)
    assert clean(world)["changes"] == 3
    assert ids(world, Change.id) == held
    assert old in ids(world, SyncRun.id)


def test_what_a_preview_showed_goes_after_a_week_and_its_counts_stay(world: World) -> None:
    config = world.config()
    old, young = ended_run(world, config, days_ago=8), ended_run(world, config, days_ago=6)
    for state in ("would_go", "would_wait", "applied"):
        change(world, old, days_ago=8, state=state)
    fresh = change(world, young, days_ago=6, state="would_go")
    assert clean(world)["previewed"] == 2
    assert fresh in ids(world, Change.id) and len(ids(world, Change.id)) == 2
    assert ids(world, SyncRun.id) == {old, young}


def test_copies_of_what_was_overwritten_stay_until_their_own_time(world: World) -> None:
    config = world.config()
    first, second = ended_run(world, config, days_ago=60), ended_run(world, config, days_ago=100)
    copy = change(world, first, days_ago=60, operation="update")
    change(world, first, days_ago=60, operation="create")
    change(world, second, days_ago=100, operation="delete")
    last = ended_run(world, config, days_ago=1)
    clean(world)
    assert ids(world, Change.id) == {copy}
    assert ids(world, SyncRun.id) == {first, last}


def test_links_and_open_conflicts_are_not_touched(world: World) -> None:
    config = world.config()
    run = ended_run(world, config, days_ago=400)
    with world.ctx.sessions.begin() as db:
        link = Link(config_id=config, state="linked", left_id="1", right_id="1")
        db.add(link)
        db.flush()
        at = world.now() - timedelta(days=400)
        db.add(
            Conflict(
                workspace_id=world.workspace,
                config_id=config,
                link_id=link.id,
                key="k",
                field="f",
                kind="value",
                state="open",
                opened_at=at,
                updated_at=at,
                opened_run_id=run,
            )
        )
    ended_run(world, config, days_ago=1)
    assert clean(world)["runs"] == 1
    assert len(ids(world, Link.id)) == 1 and len(ids(world, Conflict.id)) == 1


def test_the_last_word_of_a_config_stays_whatever_its_age(world: World) -> None:
    config, other = world.config(), world.config()
    success = ended_run(world, config, days_ago=300)
    for days in (200, 100):
        ended_run(world, config, days_ago=days, state=RunState.SKIPPED)
    ended_run(world, config, days_ago=90, state=RunState.FAILED)
    newest = ended_run(world, config, days_ago=80, state=RunState.FAILED)
    only = ended_run(world, other, days_ago=500, state=RunState.FAILED)
    clean(world)
    assert ids(world, SyncRun.id) == {success, newest, only}


def test_a_run_that_is_not_over_is_never_old(world: World) -> None:
    run_id = runs.queue(world.ctx, world.config(), asked_by=WHO)
    world.advance(400 * 24 * 3600)
    clean(world)
    assert ids(world, SyncRun.id) == {run_id}


def test_what_signs_nobody_in_any_more_is_forgotten(world: World) -> None:
    now = world.now()
    with world.ctx.sessions.begin() as db:
        db.add(User(id="u", email=WHO, created_at=now))
        db.flush()
        for name, seen in (("old", now - timedelta(days=8)), ("new", now)):
            db.add(
                WebSession(
                    token_hash=name, user_id="u", created_at=seen, last_seen_at=seen,
                    expires_at=now + timedelta(days=1),
                )
            )  # fmt: skip
        db.add(Process(id="gone", kind="worker", started_at=now, beat_at=now - timedelta(days=2)))
    execution = jobs.run_now(world.ctx, "cleanup-old-sign-ins", asked_by=WHO)
    assert execution.result == {
        "sessions": 1, "links": 0, "invitations": 0, "consents": 0, "processes": 1
    }  # fmt: skip
    assert people.find_session(world.ctx, "x") is None


def test_all_automatic_syncs_can_be_started_as_a_job(world: World) -> None:
    config = world.config()
    world.config(auto=False)
    execution = jobs.run_now(world.ctx, "run-auto-syncs", asked_by=WHO)
    assert execution.result == {"found": 1, "queued": 1, "skipped": 0, "failed": 0}
    assert [run.asked_by for run in world.runs_of(config)] == [WHO]


def test_the_clean_up_is_due_at_two_in_the_night(small_world: World) -> None:
    world = small_world
    jobs.listed(world.ctx)
    with world.ctx.reads() as db:
        next_at = db.get_one(MaintenanceJob, CLEANUP).next_run_at
        assert db.scalar(select(func.count()).select_from(JobExecution)) == 0
    assert next_at is not None
    world.offset = next_at - datetime.now(UTC) + timedelta(seconds=1)
    assert due.tick(world.ctx).jobs >= 1
    assert jobs.history(world.ctx, CLEANUP)[0].asked_by == "schedule"


def test_what_was_settled_around_old_runs_goes_and_what_is_open_stays(world: World) -> None:
    config, at = world.config(), world.now() - timedelta(days=100)
    busy = runs.queue(world.ctx, config, asked_by=WHO)
    with world.ctx.sessions.begin() as db:
        for name, closed in (("open", None), ("closed", at)):
            db.add_all(
                [
                    Conflict(
                        workspace_id=world.workspace, config_id=config, key=name, field=name, kind="value",
                        state=name, opened_at=at, updated_at=at, closed_at=closed,
                    ),
                    Issue(
                        workspace_id=world.workspace, config_id=config, code="rejected", key=name,
                        message="m", opened_at=at, last_seen_at=at, closed_at=closed,
                    ),
                    Alert(
                        workspace_id=world.workspace, config_id=config, kind="failing", message=name,
                        raised_at=at, cleared_at=closed,
                    ),
                ]
            )  # fmt: skip
        for name, state, part, run_id in (
            ("over", "started", "queued", "gone"),
            ("never confirmed", "planned", "planned", None),
            ("waits", "started", "waiting", None),
            ("works", "started", "queued", busy),
            ("stopped", "stopped", "waiting", None),
            ("taken back", "recalled", "waiting", None),
        ):
            db.add(
                BulkRetry(
                    id=name, workspace_id=world.workspace, state=state, chosen="", digest="",
                    planned_by=WHO, created_at=at, expires_at=at,
                )
            )  # fmt: skip
            db.flush()
            db.add(
                BulkPart(
                    id=name, bulk_id=name, config_id=config, config_version=1, state=part, keys=[],
                    left_out={}, run_id=run_id,
                )
            )  # fmt: skip
    result = clean(world)
    assert [result[name] for name in ("conflicts", "issues", "alerts", "bulk_retries")] == [1, 1, 1, 4]
    assert ids(world, Conflict.key) == ids(world, Issue.key) == ids(world, Alert.message) == {"open"}
    assert ids(world, BulkRetry.id) == ids(world, BulkPart.id) == {"waits", "works"}


def test_settled_conflicts_stay_as_long_as_copies_of_values(world: World) -> None:
    config, at = world.config(), world.now() - timedelta(days=60)
    with world.ctx.sessions.begin() as db:
        db.add(
            Conflict(
                workspace_id=world.workspace, config_id=config, key="k", field="f", kind="value",
                state="resolved", opened_at=at, updated_at=at, closed_at=at,
            )
        )  # fmt: skip
    assert clean(world)["conflicts"] == 0


def test_a_draft_that_nobody_goes_on_with_is_forgotten(world: World) -> None:
    with world.ctx.sessions.begin() as db:
        for name, days in (("old", 31), ("young", 29)):
            at = world.now() - timedelta(days=days)
            db.add(
                Draft(
                    id=name, workspace_id=world.workspace, definition={}, questions={}, made_by=WHO,
                    created_at=at, updated_at=at,
                )
            )  # fmt: skip
    assert jobs.run_now(world.ctx, "cleanup-drafts", asked_by=WHO).result == {"drafts": 1}
    assert ids(world, Draft.id) == {"young"}


# Who takes rows away again: a maintenance job, the tick, whoever they belong to; or why they stay.
KEPT = {
    "alert_deliveries": "go with their alert",
    "alerts": CLEANUP,
    "api_tokens": "one for each that somebody made; go with their person",
    "audit_events": "kept for ever: a chain with a missing link proves nothing",
    "audit_heads": "one for each chain",
    "baselines": "one for each sync",
    "batches": "go when it is known what came of them; a dead run's to the next run of its sync",
    "bulk_parts": "go with their bulk retry",
    "bulk_retries": CLEANUP,
    "chain_links": "go with their sync",
    "changes": CLEANUP,
    "circuits": "one for each connection",
    "conflicts": CLEANUP,
    "connections": "made and deleted by people",
    "consents": "cleanup-old-sign-ins",
    "drafts": "cleanup-drafts",
    "grants": "one for each connection",
    "invitations": "cleanup-old-sign-ins",
    "issue_claims": "the tick, after half an hour",
    "issue_notes": "written by people; go with their sync",
    "issues": CLEANUP,
    "job_executions": CLEANUP,
    "key_checks": "one row",
    "links": "one for each pair of records that is in step",
    "maintenance_jobs": "one for each job",
    "memberships": "go with their person",
    "processes": "cleanup-old-sign-ins",
    "questions": "the tick, after an hour",
    "replies": "cleanup-replies",
    "run_calls": CLEANUP,
    "run_lines": CLEANUP,
    "shadows": "go with their link",
    "sign_in_links": "cleanup-old-sign-ins",
    "sync_configs": "made and deleted by people",
    "sync_job_configs": "go with their sync",
    "sync_jobs": "made and deleted by people",
    "sync_runs": CLEANUP,
    "users": "delete-accounts",
    "web_sessions": "cleanup-old-sign-ins",
    "workspaces": "made by people",
}


def test_every_table_has_somebody_who_cleans_it_up_or_a_reason_to_be_kept() -> None:
    assert set(KEPT) == set(metadata.tables)
    named = {why for why in KEPT.values() if " " not in why}
    assert named == set(jobs.registry()) - {"run-auto-syncs"}

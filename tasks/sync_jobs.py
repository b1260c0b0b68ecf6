"""Sync-jobs: one schedule over many streams, as outside set-ups know it; here a name over several configs.

Its configs are made on the control queue: only the left system knows which streams there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from connectors.base import Can, Connector
from connectors.errors import ConnectorError, StreamGone
from models.connections import Connection
from models.questions import Question, QuestionKind
from models.sync_configs import SyncConfig
from models.sync_jobs import SyncJob, SyncJobConfig
from models.sync_runs import RunKind
from sync.definition import nearest
from sync.records import Stream
from sync.schedule import ScheduleProblem, read_schedule
from sync.values import FieldType
from tasks import audit, questions, runs, saving, schedules
from tasks.context import Context
from tasks.errors import DefinitionError, NotFound, RunActive, WorkError, WrongState
from tasks.sides import asked

# Fields that say when a record was changed, by the names that systems give them.
_CHANGED_AT = ("updated_at", "updatedat", "modified_at", "modifiedat", "last_modified", "updated", "modified")


def create(
    ctx: Context,
    workspace_id: str,
    *,
    name: str,
    left_id: str,
    right_id: str,
    cron: str,
    timezone: str,
    mode: str,
    enabled: bool,
    streams: Sequence[str] | None,
    by: str,
    owner_id: str | None,
) -> str:
    """A new sync-job; its id. Raises NotFound (a connection), DefinitionError (the schedule), WorkError."""
    _checked(cron, timezone)
    try:
        with ctx.sessions.begin() as db:
            now = ctx.db_now(db)
            for connection_id in (left_id, right_id):
                row = db.get(Connection, connection_id)
                if row is None or row.workspace_id != workspace_id:
                    raise NotFound(f"There is no connection {connection_id}.")
            job = SyncJob(
                id=ctx.new_id(), workspace_id=workspace_id, name=name, left_connection_id=left_id,
                right_connection_id=right_id, cron=cron, timezone=timezone, mode=mode, enabled=enabled,
                streams=list(streams) if streams is not None else None, owner_id=owner_id,
                created_by=by[:320], state="preparing", created_at=now, updated_at=now,
            )  # fmt: skip
            db.add(job)
            audit.record(db, "sync_job.created", job.id, by=by, at=now, workspace_id=workspace_id, name=name)
    except IntegrityError:
        raise saving.taken("sync-job", name) from None
    questions.ask(
        ctx, workspace_id, QuestionKind.SET_UP, by=by, connection_id=left_id, options={"job": job.id}
    )
    return job.id


def change(ctx: Context, job_id: str, values: Mapping[str, Any], *, by: str) -> None:
    """Change name, cron, timezone or enabled; its configs follow.

    Raises NotFound, DefinitionError, WorkError (the name is taken).
    """
    try:
        with ctx.sessions.begin() as db:
            _change(ctx, db, _job(db, job_id), values, by)
    except IntegrityError:
        raise saving.taken("sync-job", str(values.get("name"))) from None


def _change(ctx: Context, db: Session, job: SyncJob, values: Mapping[str, Any], by: str) -> None:
    for column in ("name", "cron", "timezone", "enabled"):
        if column in values:
            setattr(job, column, values[column])
    _checked(job.cron, job.timezone)
    job.updated_at = now = ctx.db_now(db)
    for config in _configs(db, job.id):
        config.definition = {
            **config.definition,
            "schedule": {"cron": job.cron, "timezone": job.timezone},
            "active": job.enabled,
        }
        config.cron, config.timezone, config.active = job.cron, job.timezone, job.enabled
        config.version += 1
        config.updated_at = now
        schedules.reschedule(config, now)
    audit.record(
        db, "sync_job.changed", job.id, by=by, at=now, workspace_id=job.workspace_id, fields=sorted(values)
    )


def delete(ctx: Context, job_id: str, *, by: str) -> None:
    """Forget a sync-job and its configs; the records stay. Raises NotFound, RunActive, WrongState."""
    with ctx.reads() as db:
        job = _job(db, job_id)
        ids = [config.id for config in _configs(db, job_id)]
    for config_id in ids:
        saving.delete_config(ctx, config_id, by=by)
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        db.delete(_job(db, job_id))
        audit.record(
            db, "sync_job.deleted", job_id, by=by, at=now, workspace_id=job.workspace_id, name=job.name
        )


def run(ctx: Context, job_id: str, *, by: str) -> tuple[list[str], list[str]]:
    """Queue a run of each of its configs; those runs, and the runs that were active already.

    Raises NotFound, WrongState (it is not set up), WorkError (it is switched off).
    """
    with ctx.reads() as db:
        job = _job(db, job_id)
        if job.state == "preparing":
            raise WrongState(f"'{job.name}' is still being set up: try again in a moment.")
        if job.state == "failed":
            raise WrongState(
                f"'{job.name}' could not be set up: {job.error} Mend that, delete it and make it again."
            )
        ids = [config.id for config in _configs(db, job_id)]
    queued, active = [], []
    for config_id in ids:
        try:
            queued.append(runs.queue(ctx, config_id, asked_by=by, kind=RunKind.MANUAL))
        except RunActive as busy:
            active.append(busy.run_id)
    return queued, active


def configs_of(db: Session, job_ids: Sequence[str]) -> dict[str, list[SyncConfig]]:
    """The configs of sync-jobs, by job."""
    found: dict[str, list[SyncConfig]] = {job_id: [] for job_id in job_ids}
    for job_id, config in db.execute(
        select(SyncJobConfig.job_id, SyncConfig)
        .join(SyncConfig, SyncConfig.id == SyncJobConfig.config_id)
        .where(SyncJobConfig.job_id.in_(job_ids))
        .order_by(SyncConfig.name)
    ):
        found[job_id].append(config)
    return found


# -- on the control queue --------------------------------------------------------------------------


def set_up(ctx: Context, row: Question) -> dict[str, Any]:
    """Make the configs of a new sync-job; which ones. What is wrong stands with the job, too."""
    job_id = str(row.options.get("job", ""))
    try:
        names = _set_up(ctx, job_id)
    except (ConnectorError, WorkError) as problem:
        _note(ctx, job_id, "failed", problem.message)
        raise
    _note(ctx, job_id, "ready", None)
    return {"configs": names}


def _set_up(ctx: Context, job_id: str) -> list[str]:
    with ctx.reads() as db:
        job = _job(db, job_id)
        ends = [db.get_one(Connection, id) for id in (job.left_connection_id, job.right_connection_id)]
    with ExitStack() as stack:
        left, right = (stack.enter_context(asked(ctx, connection)) for connection in ends)
        found = {stream.name: stream for stream in left.discover()}
        wanted = job.streams if job.streams is not None else [name for name in found if found[name].key]
        made = []
        for name in wanted:
            if name not in found:
                raise NotFound(
                    f"'{ends[0].name}' has no stream '{name}'." + nearest(str(name), sorted(found))
                )
            made.append(_make(ctx, job, ends, found[name], right))
    return made


def _make(ctx: Context, job: SyncJob, ends: Sequence[Connection], stream: Stream, right: Connector) -> str:
    """The config of one stream, and its table on the right where there is none."""
    if not stream.key:
        raise WorkError(f"'{stream.name}' has no key to match records by: leave it out.", code="key")
    there = _there(right, stream)
    fields = [item.name for item in stream.fields if there.field(item.name) is not None]
    definition: dict[str, Any] = {
        "left": {"connection": ends[0].name, "stream": stream.name},
        "right": {"connection": ends[1].name, "stream": there.name},
        "direction": "left_to_right",
        "match": list(stream.key),
        "fields": [{"left": field, "right": field} for field in fields],
        "schedule": {"cron": job.cron, "timezone": job.timezone},
        "active": job.enabled,
    }
    if job.mode == "incremental" and (column := _changed_at(stream)):
        definition |= {"mode": "incremental", "cursor": {"left": column}}
    name = f"{job.name}: {stream.name}"[:200]
    made = saving.create_config(
        ctx, job.workspace_id, name, definition, by=job.created_by, owner_id=job.owner_id
    )
    with ctx.sessions.begin() as db:
        db.add(SyncJobConfig(config_id=made, job_id=job.id))
    return name


def _there(right: Connector, stream: Stream) -> Stream:
    """The stream of the same name on the right; made where it is missing and can be made."""
    options = right.parse_stream_options({})
    try:
        return right.stream(stream.name, options)
    except StreamGone:
        if Can.CREATE_STREAM not in right.can:
            raise
    # The right side holds the left one's keys: nothing is generated there.
    plain = tuple(replace(item, generated=False, writable=True) for item in stream.fields)
    return right.create_stream(replace(stream, fields=plain, writable=True), options)


def _changed_at(stream: Stream) -> str | None:
    """The field to read incrementally by; None: such a stream is read in full."""
    times = {item.name.lower(): item.name for item in stream.fields if item.type is FieldType.DATETIME}
    return next((times[name] for name in _CHANGED_AT if name in times), None)


def _note(ctx: Context, job_id: str, state: str, error: str | None) -> None:
    with ctx.sessions.begin() as db:
        job = db.get(SyncJob, job_id)
        if job is not None:
            job.state, job.error = state, error


def _job(db: Session, job_id: str) -> SyncJob:
    job = db.get(SyncJob, job_id)
    if job is None:
        raise NotFound(f"There is no sync-job {job_id}.")
    return job


def _configs(db: Session, job_id: str) -> list[SyncConfig]:
    return configs_of(db, [job_id])[job_id]


def _checked(cron: str, timezone: str) -> None:
    try:
        read_schedule(cron, timezone)
    except ScheduleProblem as problem:
        about = "timezone" if "is not a time zone" in str(problem) else "cron"
        raise DefinitionError(str(problem), place=f"schedule.{about}") from None

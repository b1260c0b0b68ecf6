"""Two hostile systems, one sync between them, and a worker that can die at any moment.

Everything goes the way of production: a run is queued, claimed, carried out over a database, and what a
dead worker left is taken over. Only three things are not real: the systems, the clock, and death.
"""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, select, text

from connectors.base import Connector
from connectors.errors import OutcomeUnknown, Unavailable
from connectors.memory import Memory
from models.connections import Connection
from models.issues import Conflict, Issue
from models.journal import Change, ChangeState
from models.links import Link, LinkState, Shadow
from models.people import Workspace
from models.sync_configs import Baseline, SyncConfig
from models.sync_runs import RunKind, RunState, SyncRun
from models.tables import metadata
from settings import Settings
from sync.definition import SyncDefinition
from sync.records import SIDES, Side
from sync.values import decode, decode_fields
from tasks import claims, decisions, execute, retries, runs, shift, upkeep
from tasks.claims import Claim
from tasks.context import Context, live
from tasks.heartbeat import Heartbeat
from tasks.sides import opened
from tasks.summary import Summary
from tests.hostile import Hostile, Killed

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ENV = {
    "SECRET_KEY": "k3Y-for-tests-only_9f8e7d6c5b4a32",
    "ENCRYPTION_KEYS": "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}
PERSON = "alice@example.org"


Failure = Callable[[], Exception]


@dataclass
class Deaths:
    """What goes wrong at the n-th step of those it counts, before or after the step takes effect.

    The process dies there, or (`fails`) lives on, and the step ends in the error that such a step can
    end in: each step says which, and one that cannot fail at that moment does not.
    """

    at: int | None = None
    after: bool = False
    fails: bool = False
    steps: int = 0
    trace: list[str] = field(default_factory=list)
    is_counting: bool = False
    has_struck: bool = False

    @contextmanager
    def step(
        self, name: str, *, before: Failure | None = None, after: Failure | None = None
    ) -> Iterator[None]:
        """`before`, `after`: what this step ends in when it fails without, or with, its effect."""
        if not self.is_counting:
            yield
            return
        self.steps += 1
        number = self.steps
        self.trace.append(name)
        if self.at == number and not self.after:
            self._strike(f"before step {number}: {name}", before)
        try:
            yield
        finally:
            if self.at == number and self.after:
                self._strike(f"after step {number}: {name}", after)

    def _strike(self, where: str, failure: Failure | None) -> None:
        if not self.fails:
            self.has_struck = True
            raise Killed(where)
        if failure is not None:
            self.has_struck = True
            raise failure()

    @contextmanager
    def count(self, at: int | None = None, *, after: bool = False, fails: bool = False) -> Iterator[None]:
        """Count the steps from here on, and strike at one of them."""
        self.at, self.after, self.fails = at, after, fails
        self.steps, self.trace, self.has_struck = 0, [], False
        self.is_counting = True
        try:
            yield
        finally:
            self.is_counting = False
            self.at = None


def _unreachable() -> Exception:
    return Unavailable("The system does not answer.")


def _unanswered() -> Exception:
    return OutcomeUnknown("The system did not answer in time.")


def _locked() -> Exception:
    return sqlite3.OperationalError("database is locked")


def _cut() -> Exception:
    return sqlite3.OperationalError("disk I/O error")


class _LostRing(Exception):
    """The queue is away: a bell never raises, it is not heard."""


def mortal(connector: Connector, deaths: Deaths, side: Side) -> Connector:
    """The same connector; each of its calls is a step at which the process may die."""
    kind = type(connector)

    def read(self: Any, stream: Any, options: Any, since: Any = None) -> Iterator[Any]:
        pages = kind.read(self, stream, options, since)
        number = 0
        while True:
            number += 1
            with deaths.step(f"{side}: page {number}", before=_unreachable):
                page = next(pages, None)
            if page is None:
                return
            yield page
            if page.is_last:
                return

    def write(self: Any, stream: Any, options: Any, batch: Any) -> Any:
        with deaths.step(f"{side}: write {len(batch)}", before=_unanswered, after=_unanswered):
            return kind.write(self, stream, options, batch)

    def _carry_out(self: Any, store: Any, change: Any) -> Any:
        with deaths.step(f"{side}: record", before=_unanswered, after=_unanswered):
            return kind._carry_out(self, store, change)  # type: ignore[attr-defined]

    def lookup(self: Any, stream: Any, options: Any, ids: Any) -> Any:
        with deaths.step(f"{side}: lookup", before=_unreachable):
            return kind.lookup(self, stream, options, ids)

    def find(self: Any, stream: Any, options: Any, field_name: Any, values: Any) -> Any:
        with deaths.step(f"{side}: find", before=_unreachable):
            return kind.find(self, stream, options, field_name, values)

    verbs = {"read": read, "write": write, "lookup": lookup, "find": find}
    if isinstance(connector, Memory):
        verbs["_carry_out"] = _carry_out  # a batch is carried out record by record, and death comes between
    connector.__class__ = type(kind.__name__, (kind,), verbs)
    return connector


@dataclass(frozen=True, slots=True)
class StageContext(Context):
    """A context whose connectors lead to whatever stands on the stage."""

    systems: Mapping[Side, Callable[[], Connector]]
    deaths: Deaths

    def connector(self, name: str, options: Mapping[str, object]) -> Connector:
        side: Side = "left" if options.get("space") == "left" else "right"
        return mortal(self.systems[side](), self.deaths, side)


@dataclass(frozen=True)
class StoredLink:
    """A link with its shadows, decoded."""

    id: int
    state: str
    reason: str
    left_id: str | None
    right_id: str | None
    left: dict[str, Any]
    right: dict[str, Any]

    def id_on(self, side: Side) -> str | None:
        return self.left_id if side == "left" else self.right_id

    def shadow(self, side: Side) -> dict[str, Any]:
        return self.left if side == "left" else self.right


@dataclass(frozen=True)
class Held:
    id: int
    side: str
    operation: str
    key: str
    guard: str | None
    record_id: str | None
    origin_id: str | None
    before: dict[str, Any]
    after: dict[str, Any]


def template(folder: Path) -> Path:
    """An empty database of this release's schema, made once; a stage copies it."""
    path = folder / "template.db"
    if not path.exists():
        fresh = folder / "fresh.db"
        engine = create_engine(f"sqlite:///{fresh}")
        metadata.create_all(engine)
        with engine.begin() as db:
            db.execute(text("PRAGMA user_version"))
        engine.dispose()
        fresh.rename(path)
    return path


class Stage:
    """One sync between two systems."""

    def __init__(
        self,
        database: Path,
        systems: Mapping[Side, Callable[[], Connector]],
        definition: Mapping[str, Any] | None,
        *,
        ids: str = "id",
        clock: datetime = START,
    ) -> None:
        """`definition` None: the database is that of an earlier stage, whose sync goes on."""
        self.clock = clock
        self.database = database
        self.deaths = Deaths()
        self.rung: list[str] = []
        self._ids = (f"{ids}-{number:05}" for number in itertools.count(1))
        real = _real(database)
        self.ctx = StageContext(
            settings=real.settings,
            sessions=real.sessions,
            reads=real.reads,
            ring=real.ring,
            access=real.access,
            now=lambda: self.clock,
            db_now=lambda db: self.clock,
            new_id=self.new_id,
            rand=lambda: 0.5,
            wake=self._ring,
            queue_answers=lambda: True,
            stop=real.stop,
            systems=systems,
            deaths=self.deaths,
        )
        self.engine = real.sessions.kw["bind"]
        self.engine.dialect.deaths = self.deaths
        self.config_id = "config"
        self.heartbeat = self._new_process()
        if definition is not None:
            self._prepare(definition)

    def close(self) -> None:
        self.heartbeat._engine.dispose()
        self.engine.dispose()

    def new_id(self) -> str:
        return next(self._ids)

    def _ring(self, run_id: str) -> None:
        with suppress(_LostRing), self.deaths.step("ring", before=_LostRing, after=_LostRing):
            self.rung.append(run_id)

    def _new_process(self) -> Heartbeat:
        """A process that is alive; its beat is not started, so that nothing happens by itself."""
        return Heartbeat(self.ctx, "worker", _InAHurry(), sweeps=False)

    def _prepare(self, definition: Mapping[str, Any]) -> None:
        with self.ctx.sessions.begin() as db:
            workspace = Workspace(id="w", name="w", created_at=self.clock)
            db.add(workspace)
            db.flush()
            for side in SIDES:
                db.add(
                    Connection(
                        id=side,
                        workspace_id="w",
                        name=side,
                        connector="memory",
                        options={"space": side},
                        created_at=self.clock,
                        updated_at=self.clock,
                    )
                )
            db.flush()
            db.add(
                SyncConfig(
                    id=self.config_id,
                    workspace_id="w",
                    name="people",
                    definition=_checked(definition),
                    left_connection_id="left",
                    right_connection_id="right",
                    cron="0 * * * *",
                    timezone="UTC",
                    created_at=self.clock,
                    updated_at=self.clock,
                )
            )

    def redefine(self, definition: Mapping[str, Any]) -> None:
        with self.ctx.sessions.begin() as db:
            config = db.get_one(SyncConfig, self.config_id)
            config.definition, config.version = _checked(definition), config.version + 1

    def advance(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)

    # -- runs --------------------------------------------------------------------------------------

    def run(self, *, kind: RunKind = RunKind.MANUAL, full: bool = False, **options: Any) -> Summary:
        """Queue a run and let a worker carry it out, as the panel's button does."""
        self.advance(1)
        runs.queue(self.ctx, self.config_id, asked_by=PERSON, kind=kind, full=full, options=options or None)
        return self.work()

    def work(self) -> Summary:
        """A worker hears the bell and takes what is first in line. A lost ring is rung again by the sweep."""
        for _ in range(2):  # one of them may be lost too
            if not self.rung:
                self.advance(self.ctx.settings.ring_again_seconds + 1)
                upkeep.sweep(self.ctx)
        assert self.rung, "nobody rings for what waits"
        self.rung.clear()
        claim = claims.claim_next(self.ctx, self.heartbeat.owner)
        assert claim is not None, "there is nothing to work on"
        return self.carry(claim)

    def carry(self, claim: Claim) -> Summary:
        summary = shift.carry(self.ctx, self.heartbeat, claim, execute.carry_out)
        with self.ctx.reads() as db:
            run = db.get_one(SyncRun, claim.run_id)
            assert run.error_code != "bug", _last_bug(summary)
        self.advance(1)
        return summary

    def run_and_die(self, at: int, *, after: bool, **more: Any) -> Summary | None:
        """A run whose process dies at its n-th step. None: it died; a summary: it had fewer steps."""
        try:
            with self.deaths.count(at, after=after):
                return self.run(**more)
        except Killed:
            return None

    def take_over(self) -> Summary | None:
        """The dead process's lease runs out, and another worker goes on. None: there was nothing left."""
        self.heartbeat._engine.dispose()
        self.heartbeat = self._new_process()
        self.advance(self.ctx.settings.lease_seconds + 5)
        upkeep.sweep(self.ctx)
        self.rung.clear()
        claim = claims.claim_next(self.ctx, self.heartbeat.owner)
        return None if claim is None else self.carry(claim)

    def take_over_and_die(self, at: int) -> Summary | None:
        """As `take_over`; the successor dies too, at its n-th step."""
        try:
            with self.deaths.count(at):
                return self.take_over()
        except Killed:
            return None

    def recover(self) -> None:
        """Whatever a fault left under way or waiting is seen through, by the next worker."""
        for _ in range(4):
            run = self.active_run()
            if run is None:
                return
            if run.state == RunState.RUNNING:
                self.take_over()
                continue
            if run.not_before is not None and run.not_before > self.clock:
                self.clock = run.not_before
            self.work()
        raise AssertionError("a run that does not come to its end")

    def take_over_in_secret(self) -> Summary | None:
        """As `take_over`, while the other process only sleeps and does not know."""
        asleep, self.heartbeat = self.heartbeat, self._new_process()
        try:
            self.advance(self.ctx.settings.lease_seconds + 5)
            claim = claims.claim_next(self.ctx, self.heartbeat.owner)
            return None if claim is None else self.carry(claim)
        finally:
            self.heartbeat._engine.dispose()
            self.heartbeat = asleep

    def preview(self) -> Summary:
        with opened(self.ctx, self.config_id) as pairing:
            return execute.preview(self.ctx, pairing, run_id="preview", full=False)

    def undo(self, run_id: str) -> Summary:
        return self.run(kind=RunKind.UNDO, run=run_id)

    def retry(self, run_id: str) -> Summary:
        """The failed records of a run once more, as the panel's button does."""
        self.advance(1)
        retries.retry_run(self.ctx, run_id, by=PERSON)
        return self.work()

    # -- people ------------------------------------------------------------------------------------

    def approve(self, ids: Sequence[int] | None = None) -> None:
        decisions.approve(self.ctx, ids, by=PERSON, config_id=self.config_id)

    def dismiss(self, ids: Sequence[int]) -> None:
        decisions.dismiss(self.ctx, ids, by=PERSON, config_id=self.config_id)

    def resolve(self, conflict_id: int, take: str) -> None:
        decisions.resolve(self.ctx, [conflict_id], take, by=PERSON)

    # -- what is stored ----------------------------------------------------------------------------

    def links(self, *, tombstones: bool = False) -> list[StoredLink]:
        query = select(Link, Shadow).join(Shadow, Shadow.link_id == Link.id).order_by(Link.id)
        if not tombstones:
            query = query.where(Link.state != LinkState.TOMBSTONE)
        with self.ctx.reads() as db:
            return [
                StoredLink(
                    link.id,
                    link.state,
                    link.reason,
                    link.left_id,
                    link.right_id,
                    decode_fields(shadow.left),
                    decode_fields(shadow.right),
                )
                for link, shadow in db.execute(query)
            ]

    def conflicts(self) -> list[Conflict]:
        with self.ctx.reads() as db:
            return list(db.scalars(select(Conflict).where(Conflict.state == "open").order_by(Conflict.id)))

    def held(self) -> list[Held]:
        return [
            Held(
                row.id,
                row.side,
                row.operation,
                row.key,
                row.guard,
                row.record_id,
                row.origin_id,
                decode_fields(row.before or {}),
                decode_fields(row.after or {}),
            )
            for row in self.changes(ChangeState.HELD)
        ]

    def changes(self, *states: ChangeState) -> list[Change]:
        query = select(Change).order_by(Change.id)
        if states:
            query = query.where(Change.state.in_(states))
        with self.ctx.reads() as db:
            return list(db.scalars(query))

    def issues(self) -> list[Issue]:
        with self.ctx.reads() as db:
            return list(db.scalars(select(Issue).where(Issue.closed_at.is_(None)).order_by(Issue.id)))

    def baseline(self) -> Baseline | None:
        with self.ctx.reads() as db:
            return db.get(Baseline, self.config_id)

    def active_run(self) -> SyncRun | None:
        with self.ctx.reads() as db:
            return db.scalar(select(SyncRun).where(SyncRun.state.in_((RunState.QUEUED, RunState.RUNNING))))

    def count_runs(self) -> int:
        with self.ctx.reads() as db:
            return len(db.scalars(select(SyncRun.id)).all())

    def newest_run(self) -> SyncRun:
        with self.ctx.reads() as db:
            found = db.scalars(select(SyncRun).order_by(SyncRun.created_at.desc(), SyncRun.id.desc())).first()
        assert found is not None
        return found

    def failed_in(self, run: SyncRun) -> int:
        return int((run.summary or {}).get("failed", 0))

    def last_run(self) -> SyncRun:
        """The last run, but for undos, that got through."""
        with self.ctx.reads() as db:
            found = db.scalars(
                select(SyncRun)
                .where(SyncRun.state.in_((RunState.SUCCESS, RunState.PARTIAL)), SyncRun.kind != RunKind.UNDO)
                .order_by(SyncRun.finished_at.desc())
            ).first()
        assert found is not None
        return found

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table: equal dumps mean that nothing was stored in between."""
        with self.ctx.reads() as db:
            return {
                table.name: [tuple(row) for row in db.execute(select(table).order_by(*table.primary_key))]
                for table in metadata.sorted_tables
            }


def value_of(box: Mapping[str, Any] | None) -> Any:
    """A conflict's boxed value; None where the record is not there."""
    return None if box is None else decode(box["value"])


def put(source: Path, database: Path) -> None:
    """Make `database` a copy of `source`; whoever had it open is gone."""
    for path in (Path(f"{database}-wal"), Path(f"{database}-shm")):
        path.unlink(missing_ok=True)
    shutil.copyfile(source, database)


def hostile_stage(
    folder: Path, left: Hostile, right: Hostile, definition: Mapping[str, Any], name: str = "stage"
) -> Stage:
    """A stage with these two systems, its database a copy of the template in `folder`."""
    database = folder / f"{name}.db"
    put(template(folder), database)
    return Stage(database, {"left": left.connect, "right": right.connect}, definition)


def _checked(definition: Mapping[str, Any]) -> dict[str, Any]:
    model = SyncDefinition.model_validate(definition)
    return model.model_dump(mode="json", exclude_unset=True, by_alias=True)


@lru_cache(maxsize=4)
def _real(database: Path) -> Context:
    """A context over this database file. Stages that follow each other on one file share it, since what
    SQLAlchemy makes of a statement is kept with the engine."""
    env = {**ENV, "DATABASE_URL": f"sqlite:///{database}"}
    real = live(Settings.from_env(env, folder=database.parent))
    engine = real.sessions.kw["bind"]
    event.listen(engine, "connect", _in_a_hurry)
    dialect = engine.dialect
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        with dialect.deaths.step("commit", before=_locked, after=_cut):
            commit(connection)

    dialect.do_commit = do_commit
    return real


def _in_a_hurry(connection: Any, _record: object) -> None:
    # The disk is not what is tested here; `tests/faults` and the models' own tests do that.
    connection.execute("PRAGMA synchronous=OFF")


class _InAHurry(threading.Event):
    """A stop that nobody sets: whoever waits for it, to try something again, waits no time at all."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def _last_bug(summary: Summary) -> str:
    return "; ".join(error.message for error in summary.errors) or "a bug"

"""Short questions to connected systems: asked by the web, answered on the control queue.

A question is a row; its bell may be lost, and the tick rings again. Whoever asked looks at the row until it
is answered or failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.orm import Session

from connectors.errors import ConnectorError
from models.connections import Connection
from models.questions import Question, QuestionKind, QuestionState
from models.sync_configs import SyncConfig
from sync.records import SIDES
from sync.values import display
from tasks import editing, explaining, linking
from tasks.connections import described
from tasks.context import Context
from tasks.errors import DefinitionError, NotFound, WorkError
from tasks.runs import count
from tasks.sides import asked, definition_of, open_ends, tie, will_make

KEPT_FOR = timedelta(hours=1)  # samples hold business values: no longer than somebody looks at them
GIVEN_UP_AFTER = timedelta(minutes=5)
MOST_AT_ONCE = 50  # unanswered ones of a workspace
SAMPLE = 20  # records
LONGEST_VALUE = 200  # characters of a value in a sample
log = structlog.get_logger(__name__)


def ask(
    ctx: Context,
    workspace_id: str,
    kind: QuestionKind,
    *,
    by: str,
    connection_id: str | None = None,
    config_id: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Leave a question, commit, and ring; its id. The same one that still waits is joined.

    Raises WorkError when too many wait already.
    """
    with ctx.sessions.begin() as db:
        question_id = ask_in(
            ctx, db, workspace_id, kind, by=by, connection_id=connection_id, config_id=config_id,
            options=options,
        )  # fmt: skip
    ctx.ask(question_id)
    return question_id


def ask_in(
    ctx: Context,
    db: Session,
    workspace_id: str,
    kind: QuestionKind,
    *,
    by: str,
    connection_id: str | None = None,
    config_id: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """As `ask`, inside the caller's transaction: nobody answers before its end. The caller rings then."""
    wanted = dict(options or {})
    now = ctx.db_now(db)
    waiting = db.scalars(
        select(Question)
        .where(
            Question.workspace_id == workspace_id,
            Question.state.in_((QuestionState.ASKED, QuestionState.RUNNING)),
        )
        .order_by(Question.id)
        .with_for_update()
    ).all()
    for row in waiting:
        same = (row.kind, row.connection_id, row.config_id, row.options) == (
            kind, connection_id, config_id, wanted,
        )  # fmt: skip
        if same and row.state == QuestionState.ASKED:
            return row.id
    if len(waiting) >= MOST_AT_ONCE:
        raise WorkError("Too many questions wait for an answer. Is the scheduler running?", code="too_many")
    row = Question(
        id=ctx.new_id(), workspace_id=workspace_id, kind=kind.value, connection_id=connection_id,
        config_id=config_id, options=wanted, asked_by=by[:320], state=QuestionState.ASKED.value,
        created_at=now, rung_at=now,
    )  # fmt: skip
    db.add(row)
    db.flush()
    return row.id


def answer(ctx: Context, question_id: str) -> bool:
    """Answer a question that nobody has taken yet; whether there was one to answer."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        taken = count(
            db.execute(
                update(Question)
                .where(Question.id == question_id, Question.state == QuestionState.ASKED)
                .values(state=QuestionState.RUNNING.value, started_at=now)
            )
        )
        row = db.get(Question, question_id)
    if not taken or row is None:
        return False
    result: dict[str, Any] | None = None
    code = error = None
    try:
        result = _ANSWERS[QuestionKind(row.kind)](ctx, row)
    except DefinitionError as problem:
        result, code, error = {"place": problem.place}, problem.code, problem.message
    except (ConnectorError, WorkError) as problem:
        code, error = problem.code, problem.message
    except Exception as problem:  # the boundary of a question: it ends in a state
        error_id = ctx.new_id()
        log.error("question.failed", question=question_id, error_id=error_id, exc_info=problem)
        code, error = "unexpected", f"That is a mistake of ours. It is in the log under {error_id}."
    with ctx.sessions.begin() as db:
        kept = count(
            db.execute(
                update(Question)
                .where(Question.id == question_id, Question.state == QuestionState.RUNNING)
                .values(
                    state=(QuestionState.FAILED if error else QuestionState.ANSWERED).value,
                    answer=result, error_code=code, error=error, finished_at=ctx.db_now(db),
                )
            )
        )  # fmt: skip
        if kept and row.kind == QuestionKind.SAMPLE:
            _tell_drafts(db, question_id)
    return True


def _tell_drafts(db: Session, question_id: str) -> None:
    from tasks import drafts  # which asks questions itself

    drafts.take_in(db, db.get_one(Question, question_id))


def sweep(ctx: Context) -> None:
    """Ring again for what waits, give up what a dead process left, forget what is old."""
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        late = now - timedelta(seconds=ctx.settings.ring_again_seconds)
        to_ring = db.scalars(
            update(Question)
            .where(Question.state == QuestionState.ASKED, Question.rung_at < late)
            .values(rung_at=now)
            .returning(Question.id)
        ).all()
        db.execute(
            update(Question)
            .where(
                Question.state.in_((QuestionState.ASKED, QuestionState.RUNNING)),
                or_(
                    Question.started_at < now - GIVEN_UP_AFTER,
                    and_(Question.started_at.is_(None), Question.created_at < now - GIVEN_UP_AFTER),
                ),
            )
            .values(
                state=QuestionState.FAILED.value, finished_at=now, error_code="interrupted",
                error="Nobody answered in time. Ask again.",
            )
        )  # fmt: skip
        db.execute(delete(Question).where(Question.created_at < now - KEPT_FOR))
    for question_id in to_ring:
        ctx.ask(question_id)


# -- the answers ----------------------------------------------------------------------------------


def _check(ctx: Context, row: Question) -> dict[str, Any]:
    with asked(ctx, _connection(ctx, row)) as connector:
        return {"message": connector.check()}


def _discover(ctx: Context, row: Question) -> dict[str, Any]:
    with asked(ctx, _connection(ctx, row)) as connector:
        return {"streams": [described(stream) for stream in connector.discover()]}


def _sample(ctx: Context, row: Question) -> dict[str, Any]:
    """A few records of a stream, as texts: what a person looks at while mapping fields."""
    with asked(ctx, _connection(ctx, row)) as connector:
        raw = {name: value for name, value in row.options.items() if name != "stream"}
        options = connector.parse_stream_options(raw)
        stream = connector.stream(str(row.options.get("stream", "")), options)
        names = [field.name for field in stream.fields]
        pages = connector.read(stream, options)
        records = islice(
            (record for page in pages for record in page.pick(range(min(len(page.ids), SAMPLE)))), SAMPLE
        )
        rows = [[_shown(record.get(name)) for name in names] for record in records]
    return {"stream": described(stream), "fields": names, "records": rows}


def _shown(value: Any) -> str | None:
    text = None if value is None else display(value)
    return text if text is None or len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _explain(ctx: Context, row: Question) -> dict[str, Any]:
    return explaining.explain(ctx, row.config_id or "", str(row.options.get("key", "")))


def _tie(ctx: Context, row: Question) -> dict[str, Any]:
    """Whether a saved sync fits its streams; what an omitted `fields` stands for is kept with it."""
    with ctx.reads() as db:
        config = db.get(SyncConfig, row.config_id)
        if config is None:
            raise NotFound("The sync was deleted meanwhile.")
        version, definition = config.version, definition_of(config)
        connections = {"left": config.left_connection, "right": config.right_connection}
    with ExitStack() as stack:
        connectors = {side: stack.enter_context(asked(ctx, connections[side])) for side in SIDES}
        ends = open_ends(connectors, definition, {})
        built = tie(definition, ends, saving=True)
    pairs = [pair.name for pair in built.rules.mapping.pairs]
    if definition.fields is None:
        with ctx.sessions.begin() as db:
            db.execute(
                update(SyncConfig)
                .where(SyncConfig.id == row.config_id, SyncConfig.version == version)
                .values(known_pairs=pairs)
            )
    notes = [f"{side}: {note}" for side in SIDES for note in ends[side].stream.problems]
    notes += [will_make(end) for end in ends.values() if end.to_make is not None]
    return {"fields": pairs, "notes": notes}


def _link(ctx: Context, row: Question) -> dict[str, Any]:
    """Said by a person: these two are one. Only the systems can tell whether both are there."""
    ends = [str(row.options.get(side, "")) for side in SIDES]
    return {"link": linking.link(ctx, row.config_id or "", ends[0], ends[1], by=row.asked_by)}


def _correct(ctx: Context, row: Question) -> dict[str, Any]:
    side, record, fields = (row.options[name] for name in ("side", "record", "fields"))
    return {"run": editing.edit_and_retry(ctx, row.config_id or "", side, record, fields, by=row.asked_by)}


def _connection(ctx: Context, row: Question) -> Connection:
    with ctx.reads() as db:
        found = db.get(Connection, row.connection_id)
    if found is None:
        raise NotFound("The connection was deleted meanwhile.")
    return found


def _set_up(ctx: Context, row: Question) -> dict[str, Any]:
    from tasks import sync_jobs  # which asks questions itself

    return sync_jobs.set_up(ctx, row)


_ANSWERS: Mapping[QuestionKind, Callable[[Context, Question], dict[str, Any]]] = {
    QuestionKind.CHECK: _check,
    QuestionKind.DISCOVER: _discover,
    QuestionKind.SAMPLE: _sample,
    QuestionKind.EXPLAIN: _explain,
    QuestionKind.TIE: _tie,
    QuestionKind.SET_UP: _set_up,
    QuestionKind.LINK: _link,
    QuestionKind.CORRECT: _correct,
}

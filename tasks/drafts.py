"""Putting a sync together step by step: ends, streams, fields, rules, schedule; then it is made or changed.

Each step is checked as far as it can be before anything is kept. Systems are asked by questions on the
control queue; nothing of a draft runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models.connections import Connection
from models.drafts import Draft
from models.questions import Question, QuestionKind
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind
from sync.proposal import Column, propose
from sync.records import SIDES, Side, other
from sync.values import FieldType
from tasks import definitions, questions, runs, saving
from tasks.context import Context
from tasks.errors import DefinitionError, NotFound, WrongState

KEPT_FOR = timedelta(days=30)
NEW = "a new sync"


def begin(ctx: Context, workspace_id: str, left_id: str, right_id: str, *, by: str) -> str:
    """A draft of a new sync between these connections; its id. Both are asked what they hold.

    Raises NotFound, and WorkError when too many questions wait.
    """
    with ctx.sessions.begin() as db:
        ends = {
            side: _connection(db, workspace_id, id)
            for side, id in zip(SIDES, (left_id, right_id), strict=True)
        }
        now = ctx.db_now(db)
        draft = Draft(
            id=ctx.new_id(),
            workspace_id=workspace_id,
            config_id=None,
            version=None,
            definition={side: {"connection": ends[side].name} for side in SIDES},
            questions={},
            made_by=by,
            created_at=now,
            updated_at=now,
        )
        db.add(draft)
    look(ctx, draft.id, by=by)
    return draft.id


def begin_change(ctx: Context, config_id: str, *, by: str) -> str:
    """A draft of a change to this sync; its id. Raises NotFound, WorkError."""
    with ctx.sessions.begin() as db:
        config = db.get(SyncConfig, config_id)
        if config is None:
            raise NotFound(f"There is no sync {config_id}.")
        now = ctx.db_now(db)
        draft = Draft(
            id=ctx.new_id(),
            workspace_id=config.workspace_id,
            config_id=config.id,
            version=config.version,
            name=config.name,
            definition=dict(config.definition),
            questions={},
            made_by=by,
            created_at=now,
            updated_at=now,
        )
        db.add(draft)
    look(ctx, draft.id, by=by)
    sample(ctx, draft.id, by=by)
    return draft.id


def look(ctx: Context, draft_id: str, *, by: str) -> None:
    """Ask both ends what they hold. Raises NotFound, WorkError."""
    _ask(ctx, draft_id, QuestionKind.DISCOVER, by)


def sample(ctx: Context, draft_id: str, *, by: str) -> None:
    """Ask both streams for a few records. Raises NotFound, WorkError."""
    _ask(ctx, draft_id, QuestionKind.SAMPLE, by)


def _ask(ctx: Context, draft_id: str, kind: QuestionKind, by: str) -> None:
    # In one transaction: an answer that came before the draft knows its question would be lost on it.
    with ctx.sessions.begin() as db:
        draft = _draft(db, draft_id)
        asked: dict[str, str] = {}
        for side in SIDES:
            end = draft.definition[side]
            row = _named(db, draft, str(end["connection"]))
            options: dict[str, Any] = {}
            if kind is QuestionKind.SAMPLE:
                if end.get("create"):
                    continue  # there is nothing to look at yet
                options = {name: value for name, value in end.items() if name not in ("connection", "filter")}
            asked[place_of(kind, side)] = questions.ask_in(
                ctx, db, draft.workspace_id, kind, by=by, connection_id=row.id, options=options
            )
        others = {place: id for place, id in draft.questions.items() if place.partition(" ")[0] != kind.value}
        draft.questions = {**others, **asked}
    for question_id in asked.values():
        ctx.ask(question_id)


def take_in(db: Session, question: Question) -> None:
    """Keep which fields could be pairs with each draft whose samples are complete with this answer."""
    for draft in db.scalars(select(Draft).where(Draft.workspace_id == question.workspace_id)).all():
        if question.id not in draft.questions.values():
            continue
        # Of two answers at once the second waits here, and then sees both.
        db.refresh(draft, with_for_update=True)
        asked = {side: draft.questions.get(place_of(QuestionKind.SAMPLE, side)) for side in SIDES}
        rows = {side: db.get(Question, id) if id else None for side, id in asked.items()}
        found = columns(draft.definition, {side: row.answer if row else None for side, row in rows.items()})
        if all(found.values()):
            proposal = propose(found["left"], found["right"])
            draft.proposal = {"pairs": dict(proposal.pairs), "match": list(proposal.match)}


def columns(
    definition: Mapping[str, Any], samples: Mapping[Side, Mapping[str, Any] | None]
) -> dict[Side, list[Column]]:
    """The fields of both streams with a few values; of one that is to be made, those of the other."""
    found = {side: _columns(samples.get(side) or {}) for side in SIDES}
    for side in SIDES:
        if (definition.get(side) or {}).get("create") and not found[side]:
            twin = found[other(side)]
            found[side] = [Column(item.name, item.type) for item in twin if not item.generated]
    return found


def _columns(sample: Mapping[str, Any]) -> list[Column]:
    if "stream" not in sample:
        return []
    names, records = list(sample["fields"]), sample["records"]
    return [
        Column(
            name=each["name"],
            type=FieldType(each["type"]),
            writable=each["writable"],
            generated=each["generated"],
            is_key=each["key"],
            values=[record[names.index(each["name"])] for record in records],
        )
        for each in sample["stream"]["fields"]
    ]


def place_of(kind: QuestionKind, side: str) -> str:
    """Under which name a draft keeps the question."""
    return f"{kind.value} {side}"


def choose_streams(ctx: Context, draft_id: str, ends: Mapping[str, Mapping[str, Any]], *, by: str) -> None:
    """Which stream of each connection, with what its connector wants to know of it, and ask for samples.

    A mapping that was made for other streams is dropped. Raises NotFound, DefinitionError, WorkError.
    """
    with ctx.sessions.begin() as db:
        draft = _draft(db, draft_id)
        raw = dict(draft.definition)
        for side in SIDES:
            frame = {name: raw[side][name] for name in ("connection", "filter") if name in raw[side]}
            new = {**frame, **ends[side]}
            if (raw[side].get("stream"), raw[side].get("query")) != (new.get("stream"), new.get("query")):
                draft.proposal = None
                for name in ("fields", "match", "modified", "cursor"):
                    raw.pop(name, None)
            raw[side] = new
        _keep(ctx, db, draft, raw)
    sample(ctx, draft_id, by=by)


def say(ctx: Context, draft_id: str, said: Mapping[str, Any], *, name: str | None = None) -> None:
    """Set these words of the definition; a word that is None is left out of it again.

    Raises NotFound, DefinitionError.
    """
    with ctx.sessions.begin() as db:
        draft = _draft(db, draft_id)
        raw = {key: value for key, value in {**draft.definition, **said}.items() if value is not None}
        if name is not None:
            definitions.check_name(saving.sent(ctx), ("syncs", name, "name"), name)
            draft.name = name
        _keep(ctx, db, draft, raw)


def _keep(ctx: Context, db: Session, draft: Draft, raw: dict[str, Any]) -> None:
    kinds = {
        row.name: row.connector
        for row in db.scalars(select(Connection).where(Connection.workspace_id == draft.workspace_id))
    }
    saving.checked(definitions.read_definition(saving.sent(ctx), draft.name or NEW, raw, kinds))
    draft.definition, draft.updated_at = raw, ctx.db_now(db)


def finish(ctx: Context, draft_id: str, *, by: str, owner_id: str | None) -> tuple[str, str | None]:
    """Make the sync, or change it; its id, and the run that previews the first run of a new one.

    A new one does not run by itself until somebody has looked and switches it on. Raises NotFound,
    DefinitionError, and WorkError (the name is taken, somebody else changed it meanwhile).
    """
    with ctx.reads() as db:
        draft = _draft(db, draft_id)
    if not draft.definition.get("fields"):
        raise DefinitionError("No fields are paired yet.", place="fields")
    preview: str | None = None
    if draft.config_id is not None:
        saving.change_config(ctx, draft.config_id, draft.definition, by=by, version=draft.version)
        config_id = draft.config_id
    else:
        waits = {**draft.definition, "auto": False}
        config_id = saving.create_config(ctx, draft.workspace_id, draft.name, waits, by=by, owner_id=owner_id)
        preview = runs.queue(
            ctx, config_id, asked_by=by, kind=RunKind.PREVIEW, reason="What the first run would do"
        )
    discard(ctx, draft_id)
    return config_id, preview


def discard(ctx: Context, draft_id: str) -> None:
    """Forget a draft."""
    with ctx.sessions.begin() as db:
        db.execute(delete(Draft).where(Draft.id == draft_id))


def switch_on(ctx: Context, config_id: str, *, by: str) -> str:
    """Let a sync run by its schedule from now on, and start its first run; the run's id.

    Raises NotFound, WrongState (also where no schedule was chosen: it would run every hour), RunActive.
    """
    with ctx.reads() as db:
        config = db.get(SyncConfig, config_id)
        if config is None:
            raise NotFound(f"There is no sync {config_id}.")
        if not config.definition.get("schedule"):
            raise WrongState(
                f"'{config.name}' has no schedule, so it runs only when somebody starts it. Run it now, or"
                " give it a schedule first.",
                code="no_schedule",
            )
        runs.must_be_runnable(config)
        definition = {**config.definition, "auto": True}
    saving.change_config(ctx, config_id, definition, by=by, version=config.version)
    return runs.queue(ctx, config_id, asked_by=by, reason="Switched on")


def _draft(db: Session, draft_id: str) -> Draft:
    found = db.get(Draft, draft_id)
    if found is None:
        raise NotFound("This draft is no longer there: the sync was made, or the draft was thrown away.")
    return found


def _connection(db: Session, workspace_id: str, connection_id: str) -> Connection:
    found = db.scalar(
        select(Connection).where(Connection.id == connection_id, Connection.workspace_id == workspace_id)
    )
    if found is None:
        raise NotFound("One of the connections is not there.")
    return found


def _named(db: Session, draft: Draft, name: str) -> Connection:
    found = db.scalar(
        select(Connection).where(Connection.name == name, Connection.workspace_id == draft.workspace_id)
    )
    if found is None:
        raise NotFound(f"The connection '{name}' is not there any more.")
    return found

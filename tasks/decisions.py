"""What people say of what waits: conflicts settled, held changes approved or dismissed.

An answer is kept with what the person saw. The next run carries it out only while that is still what
is there; otherwise it asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.issues import Conflict
from models.journal import Change, ChangeState
from models.sync_configs import SyncConfig
from sync.guard import SENTENCES
from sync.records import Side
from sync.values import FieldType, ValueProblem, decode, decode_fields, display, encode, iso, parse
from tasks import audit, ledger, runs
from tasks.context import Context
from tasks.errors import NotFound, RunActive, WorkError, WrongState
from tasks.sides import definition_of

# -- conflicts ------------------------------------------------------------------------------------


def open_conflicts(ctx: Context, config_id: str | None = None) -> list[dict[str, Any]]:
    """The open conflicts, oldest first: both values, both shadows, when each side was modified."""
    query = (
        select(Conflict, SyncConfig.name)
        .join(SyncConfig, SyncConfig.id == Conflict.config_id)
        .where(Conflict.state == "open")
        .order_by(Conflict.opened_at, Conflict.id)
    )
    if config_id is not None:
        query = query.where(Conflict.config_id == config_id)
    with ctx.reads() as db:
        return [_shown(row, name) for row, name in db.execute(query)]


def _shown(row: Conflict, config: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "config": config,
        "key": row.key,
        "field": row.field,
        "kind": row.kind,
        "left": _text(row.left),
        "right": _text(row.right),
        "left_shadow": _text(row.left_shadow),
        "right_shadow": _text(row.right_shadow),
        "left_modified_at": iso(row.left_modified_at) if row.left_modified_at else None,
        "right_modified_at": iso(row.right_modified_at) if row.right_modified_at else None,
        "opened_at": iso(row.opened_at),
        "note": row.note,
        "answered": row.resolution is not None,
    }


def _text(box: dict[str, Any] | None) -> Any:
    """A boxed value for a person; None where the record or field is not there."""
    if box is None:
        return None
    value = decode(box["value"])
    if isinstance(value, dict):
        return {name: display(item) for name, item in value.items()}
    return None if value is None else display(value)


def resolve(
    ctx: Context,
    conflict_ids: Sequence[int],
    take: str,
    *,
    by: str,
    seen: dict[int, Any] | None = None,
    queue: bool = True,
    typed: bool = False,
) -> list[dict[str, Any]]:
    """Answer conflicts with `left`, `right` or a value, and `queue` a run that writes the answers.

    `typed`: what is to be taken is a value in any case, also where it reads left or right.

    `seen` maps an id to the pair of boxed values that the person was shown; where a side has moved since,
    nothing is answered. Returns per conflict what will be written. Raises NotFound, WrongState, WorkError.
    """
    answered: list[dict[str, Any]] = []
    configs: set[str] = set()
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        for conflict_id in conflict_ids:
            row = db.get(Conflict, conflict_id)
            if row is None:
                raise NotFound(f"There is no conflict {conflict_id}.")
            if row.state != "open":
                raise WrongState(
                    f"The conflict {conflict_id} is settled already, by {row.resolved_by or 'itself'}."
                )
            if seen is not None and seen.get(conflict_id) != [row.left, row.right]:
                raise WrongState(
                    f"{row.key}: a side has changed since this was shown. Have a look at the new values.",
                    code="changed",
                )
            row.resolution = _answer(db, row, take, typed)
            row.resolved_by, row.updated_at = by, now
            configs.add(row.config_id)
            audit.record(
                db, "conflict.resolved", str(row.id), by=by, at=now, workspace_id=row.workspace_id,
                key=row.key, field=row.field, take=row.resolution["take"],
            )  # fmt: skip
            answered.append(
                {
                    "id": row.id,
                    "config": db.get_one(SyncConfig, row.config_id).name,
                    "key": row.key,
                    "field": row.field,
                    "sentence": _sentence(row, take, typed),
                }
            )
    if queue:
        _queue(ctx, configs, by)
    return answered


def _answer(db: Session, row: Conflict, take: str, typed: bool) -> dict[str, Any]:
    shown = {"seen_left": row.left, "seen_right": row.right}
    if take in ("left", "right") and not typed:
        return {"take": take, **shown}
    if row.kind == "delete":
        raise WorkError(
            f"{row.key} was edited on one side and deleted on the other: take left or right.", code="take"
        )
    return {"take": "value", "value": _typed(db, row, take), **shown}


def _typed(db: Session, row: Conflict, text: str) -> dict[str, Any]:
    """The typed text as a value of the field's own type on the left."""
    config = db.get_one(SyncConfig, row.config_id)
    spec = next((item for item in definition_of(config).fields or () if item.left == row.field), None)
    kind = (spec.type if spec is not None else None) or _type_of(row)
    try:
        return {"value": encode(parse(text, kind))}
    except ValueProblem as problem:
        raise WorkError(f"{row.field}: {problem}.", code="value") from None


def _type_of(row: Conflict) -> FieldType:
    """The type that the conflict's own values show, where the definition leaves it to the streams."""
    kinds = (
        (bool, FieldType.BOOLEAN),
        (int, FieldType.INTEGER),
        (Decimal, FieldType.DECIMAL),
        (datetime, FieldType.DATETIME),
        (date, FieldType.DATE),
        (tuple, FieldType.LIST),
    )
    for box in (row.left, row.right):
        value = decode(box["value"]) if box else None
        for kind, field_type in kinds:
            if isinstance(value, kind):
                return field_type
    return FieldType.TEXT


def _sentence(row: Conflict, take: str, typed: bool) -> str:
    if row.kind == "delete":
        gone: Side = "left" if row.left is None else "right"
        return "the record is deleted on the other side too" if take == gone else "the record is made again"
    if typed:
        return f"both sides become {take!r}"
    if take == "left":
        return f"right becomes {_text(row.left)!r}"
    if take == "right":
        return f"left becomes {_text(row.right)!r}"
    return f"both sides become {take!r}"


def _queue(ctx: Context, config_ids: Iterable[str], by: str) -> None:
    """Let the decision take effect soon; a run that waits or works already takes it along or follows."""
    for config_id in sorted(config_ids):
        try:
            runs.queue(ctx, config_id, asked_by=by, reason="a decision was made")
        except (RunActive, WrongState):
            continue  # the run after the one that is active carries it out, or the one after the pause


# -- held changes ---------------------------------------------------------------------------------


def held_changes(ctx: Context, config_id: str | None = None) -> list[dict[str, Any]]:
    """What waits for a look, and what was approved and waits for its run."""
    query = (
        select(Change, SyncConfig.name)
        .join(SyncConfig, SyncConfig.id == Change.config_id)
        .where(Change.state.in_((ChangeState.HELD, ChangeState.APPROVED)))
        .order_by(Change.config_id, Change.guard, Change.id)
    )
    if config_id is not None:
        query = query.where(Change.config_id == config_id)
    with ctx.reads() as db:
        return [_held(row, name) for row, name in db.execute(query)]


def _held(row: Change, config: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "config": config,
        "side": row.side,
        "operation": row.operation,
        "key": row.key,
        "before": {name: display(value) for name, value in decode_fields(row.before or {}).items()},
        "after": {name: display(value) for name, value in decode_fields(row.after or {}).items()},
        "guard": row.guard,
        "because": row.message or SENTENCES.get(row.guard or "", ""),
        "state": row.state,
        "created_at": iso(row.created_at),
        "expires_at": iso(row.expires_at) if row.expires_at else None,
    }


def approve(
    ctx: Context,
    change_ids: Sequence[int] | None,
    *,
    by: str,
    config_id: str | None = None,
    queue: bool = True,
) -> list[dict[str, Any]]:
    """Let held changes through, these or all: each once, as it was shown, within a day. Queues a run."""
    return _decide(ctx, change_ids, ChangeState.APPROVED, by=by, config_id=config_id, queue=queue)


def dismiss(
    ctx: Context, change_ids: Sequence[int] | None, *, by: str, config_id: str | None = None
) -> list[dict[str, Any]]:
    """Say no: the change is not made, nor asked about again while it stays the same."""
    return _decide(ctx, change_ids, ChangeState.DISMISSED, by=by, config_id=config_id, queue=False)


def _decide(
    ctx: Context,
    change_ids: Sequence[int] | None,
    state: ChangeState,
    *,
    by: str,
    config_id: str | None,
    queue: bool,
) -> list[dict[str, Any]]:
    """Raises NotFound, WrongState; then nothing was decided at all."""
    configs: set[str] = set()
    found: list[dict[str, Any]] = []
    with ctx.sessions.begin() as db:
        now = ctx.db_now(db)
        query = select(Change).where(Change.state == ChangeState.HELD)
        if change_ids is not None:
            query = select(Change).where(Change.id.in_(list(change_ids)))
        if config_id is not None:
            query = query.where(Change.config_id == config_id)
        rows = {row.id: row for row in db.scalars(query.order_by(Change.id))}
        if change_ids is None:
            rows = {id_: row for id_, row in rows.items() if not ledger.has_expired(row, now)}
        for change_id in change_ids or ():
            if change_id not in rows:
                raise NotFound(f"There is no held change {change_id}.")
            if ledger.has_expired(rows[change_id], now):
                raise WrongState(
                    f"The change {change_id} has waited too long to be decided as it was shown. Run the sync:"
                    " if it is still wanted, it waits again."
                )
            if rows[change_id].state != ChangeState.HELD:
                raise WrongState(
                    f"The change {change_id} is not held (any more): it is {rows[change_id].state}."
                )
        for row in rows.values():
            row.state, row.decided_by, row.decided_at = state, by, now
            configs.add(row.config_id)
            found.append(
                {
                    "id": row.id,
                    "config": db.get_one(SyncConfig, row.config_id).name,
                    "operation": row.operation,
                    "key": row.key,
                    "side": row.side,
                    "state": str(state),
                }
            )
            audit.record(
                db, f"change.{state}", str(row.id), by=by, at=now, workspace_id=row.workspace_id,
                key=row.key, operation=row.operation, guard=row.guard,
            )  # fmt: skip
    if queue:
        _queue(ctx, configs, by)
    return found


def seen_by(ctx: Context, conflict_id: int) -> list[Any]:
    """What a person is shown of a conflict, to be sent back with the answer."""
    with ctx.reads() as db:
        row = db.get(Conflict, conflict_id)
    if row is None:
        raise NotFound(f"There is no conflict {conflict_id}.")
    return [row.left, row.right]

"""What is to be sent, written down before it is: planned changes as the journal's rows, and as a connector is
told them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.base import Write
from models.journal import Change, ChangeState
from sync.guard import PlannedChange
from sync.mapping import Seen
from sync.order import ASIDE, Step
from sync.plan import Intent
from sync.planner import Item
from sync.records import other
from sync.values import encode_fields
from tasks import ledger
from tasks.apply import Sending, Work
from tasks.entries import Entry, Journalled
from tasks.look import Outlook

JOURNALLED_AT_ONCE = 500  # changes in one transaction


def journal(
    work: Work,
    outlook: Outlook,
    steps: Sequence[Step],
    approved: dict[int, Change],
    link_ids: dict[int, int],
    now: Any,
) -> list[Sending]:
    """Journal what is to be sent, some at a time: on SQLite whoever else writes waits that long.

    What a crash between two transactions leaves is a plan of which nothing was sent: it is taken back.
    """
    items = {id(item.tie): item for item in outlook.plan.items}
    sendings: list[Sending] = []
    for start in range(0, len(steps), JOURNALLED_AT_ONCE):
        work.reins.progress("storing the plan", start, len(steps))
        part = steps[start : start + JOURNALLED_AT_ONCE]
        fresh: dict[int, Entry] = {}
        for step in part:
            if id(step) not in approved:
                item = items.get(id(step.change.tie))
                entry = change_row(work, step.change, item, outlook, link_ids, now)
                entry.settle = _with_what_stood(entry.settle, step)
                fresh[id(step)] = entry
        if fresh:
            with work.ctx.sessions.begin() as db:
                work.reins.fence(db)
                ledger.store_changes(db, list(fresh.values()))
        for step in part:
            change = step.change
            row: Journalled = fresh.get(id(step)) or approved[id(step)]
            sendings.append(
                Sending(
                    row.id,
                    row.marker,
                    change.intent.side,
                    "aside" if step.is_aside else change.intent.operation,
                    change.key,
                    _write(work, step, row, items.get(id(change.tie))),
                    row.link_id,
                    row.origin_id,
                    fresh.get(id(step)),
                )
            )
    return sendings


def settle_of(step: Step, item: Item | None, outlook: Outlook) -> dict[str, Any] | None:
    """What of the link moves when this step is confirmed, as a crash leaves it for the next run."""
    return _with_what_stood(_settle_with(step.change, item, outlook), step)


def _with_what_stood(settle: dict[str, Any] | None, step: Step) -> dict[str, Any] | None:
    """What an earlier step of this run leaves there: a look after a crash must know it for ours."""
    return {**(settle or {}), "stood": encode_fields(step.moved)} if step.moved else settle


def change_row(
    work: Work,
    change: PlannedChange,
    item: Item | None,
    outlook: Outlook,
    link_ids: dict[int, int],
    now: Any,
) -> Entry:
    intent = change.intent
    after = encode_fields(intent.after) if intent.operation != "delete" else None
    return Entry(
        marker=work.ctx.new_id(),
        workspace_id=work.workspace_id,
        config_id=work.config_id,
        run_id=work.run_id,
        link_id=link_ids.get(id(change.tie), change.tie.id),
        side=intent.side,
        operation=intent.operation,
        key=change.key[:500],
        record_id=chosen_id(work, change) if intent.operation == "create" else change.record_id,
        origin_id=change.origin_id,
        before=encode_fields(intent.before) if intent.operation != "create" else None,
        after=after,
        own=intent.after,
        rule=intent.rule[:60],
        state=ChangeState.PLANNED,
        fingerprint=change.fingerprint,
        settle=_settle_with(change, item, outlook, after),
        created_at=now,
    )


def chosen_id(work: Work, change: PlannedChange) -> str | None:
    """The id of a record to be created, where it is ours to choose: journalled before the write."""
    end = work.pairing.end(change.intent.side)
    if end.id_kind == "chosen":
        return work.ctx.new_id()
    if end.id_kind == "visible" and end.key_field is not None:
        pairs = work.pairing.built.rules.mapping.pairs
        if all(pair.on(change.intent.side) != end.key_field for pair in pairs):
            return work.ctx.new_id()
    return None


def _settle_with(
    change: PlannedChange, item: Item | None, outlook: Outlook, after: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What of the link moves when this change is confirmed, as a crash leaves it for the next run. `after` is
    what it writes, where that is encoded already."""
    intent = change.intent
    other_ = after if after is not None and intent.settle is intent.after else encode_fields(intent.settle)
    settle_: dict[str, Any] = {"other": other_}
    if intent.rule == ASIDE:
        return {**settle_, "aside": True}
    if rest := outlook.unmapped.get((intent.side, change.record_id or "")):
        settle_["rest"] = encode_fields(rest)
    if item is None:
        return settle_
    decision, far = item.decision, other(intent.side)
    seen = item.look(far)
    alone = len(decision.intents) == 1
    if decision.unlinked:
        settle_["open"] = True  # a link is still to come: the next run looks at the record again
    if decision.is_settled and alone and isinstance(seen, Seen):
        settle_["final"], settle_["other_version"] = True, seen.version
    if decision.move is not None:
        settle_["move"] = {"state": decision.move.state, "reason": decision.move.reason}
    if resolves := _resolved_by(intent):
        # A typed answer goes to both sides: it is carried out when both have it.
        twins = (twin for twin in decision.intents if twin.side == far)
        halves = resolves.intersection(*(_resolved_by(twin) for twin in twins)) if not alone else set()
        settle_["resolves"], settle_["halves"] = sorted(resolves - halves), sorted(halves)
    return settle_


def _write(work: Work, step: Step, row: Journalled, item: Item | None) -> Write:
    """The change as the connector is told it, with what must still stand there."""
    intent = step.change.intent
    mapping = work.pairing.built.rules.mapping
    seen = item.look(intent.side) if item is not None else None
    version = seen.version if isinstance(seen, Seen) else None
    if intent.operation == "delete":
        # Without a version the values that were read must still be there.
        read = None if version is not None else mapping.outgoing(intent.side, intent.before)
        return Write(row.marker, "delete", row.record_id, expected=read, expected_version=version)
    if intent.operation == "create":
        return create_of(work, intent, row.marker, row.record_id)
    fields = mapping.outgoing(intent.side, intent.after)
    expected = mapping.outgoing(intent.side, {**intent.before, **step.moved})
    version = None if step.moved else version
    return Write(row.marker, "update", row.record_id, fields, expected=expected, expected_version=version)


def resolves_of(item: Item) -> list[str]:
    """The conflicts that the item's intents settle by a person's answer."""
    return sorted(set().union(*(_resolved_by(intent) for intent in item.decision.intents)))


def _resolved_by(intent: Intent) -> set[str]:
    names = {name for name, rule in intent.rules.items() if rule.startswith("resolved")}
    return {""} if intent.rule.startswith("resolved") and not intent.rules else names


def create_of(work: Work, intent: Intent, marker: str, chosen: str | None) -> Write:
    """A create as the connector is told it, under the id that was chosen for it, if one was."""
    end = work.pairing.end(intent.side)
    fields = work.pairing.built.rules.mapping.outgoing(intent.side, intent.after)
    if chosen is not None and end.id_kind == "visible" and end.key_field is not None:
        fields[end.key_field] = chosen
    return Write(marker, "create", chosen, fields)

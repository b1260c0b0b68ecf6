"""Why a record is as it is: what both sides hold, what they agreed on, and what the next run will do.

It reads both sides as a run does and writes nothing. The decision is made by the run's own code, under
the current policy and, beside it, under each other one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from models.issues import Issue
from models.journal import IS_HISTORY, Change
from sync.mapping import FieldMapping, Seen
from sync.plan import Decision, Gone, Look, OutOfScope, Unknown
from sync.planner import Item
from sync.policy import ConflictPolicy
from sync.reconcile import Rules, reconcile
from sync.records import SIDES
from sync.values import Fields, display, iso
from tasks import ledger
from tasks.context import Context
from tasks.errors import NotFound
from tasks.look import Outlook, look
from tasks.sides import Pairing, opened

HISTORY = 20


def explain(ctx: Context, config_id: str, key: str) -> dict[str, Any]:
    """Everything about one record, by its match value or by its id on either side.

    {"config", "key", "state", "sentence", "left", "right", "left_shadow", "right_shadow", "rule", "next",
    "under": {policy: [what]}, "issues", "history"}. Raises NotFound, ConnectorError.
    """
    with opened(ctx, config_id) as pairing:
        outlook = look(
            ctx, pairing, None, full=True, previous_run_id=None, also=_links_of(ctx, config_id, key)
        )
        item = _find(outlook, pairing, key)
        answer = _answer(outlook, pairing, key, item)
    with ctx.reads() as db:
        label = answer["key"]
        answer["issues"] = [
            {"code": row.code, "message": row.message, "since": iso(row.opened_at), "seen": row.seen}
            for row in db.scalars(
                select(Issue).where(
                    Issue.config_id == config_id, Issue.closed_at.is_(None), Issue.key == label
                )
            )
        ]
        answer["history"] = [
            {
                "at": iso(row.created_at),
                "run": row.run_id,
                "side": row.side,
                "operation": row.operation,
                "state": row.state,
                "rule": row.rule,
                "before": row.before,
                "after": row.after,
                "message": row.message,
            }
            for row in db.scalars(
                select(Change)
                .where(Change.config_id == config_id, Change.key == label, IS_HISTORY)
                .order_by(Change.id.desc())
                .limit(HISTORY)
            )
        ]
    return answer


def _links_of(ctx: Context, config_id: str, key: str) -> list[int]:
    with ctx.reads() as db:
        return [row.id for row in ledger.find_record(db, config_id, key)]


def _find(outlook: Outlook, pairing: Pairing, key: str) -> Item | None:
    mapping = pairing.built.rules.mapping
    for item in outlook.plan.items:
        if key in _names(item, mapping):
            return item
    return None


def _names(item: Item, mapping: FieldMapping) -> Iterator[str]:
    yield item.tie.key
    for side in SIDES:
        yield item.tie.id_on(side) or ""
        seen = item.look(side)
        if isinstance(seen, Seen):
            yield seen.id
            yield mapping.label(side, seen.values, seen.id)


def _answer(outlook: Outlook, pairing: Pairing, key: str, item: Item | None) -> dict[str, Any]:
    if item is None:
        return _not_taking_part(outlook, pairing, key)
    rules = pairing.built.rules
    planned = [change for change in outlook.plan.changes if change.tie is item.tie]
    return {
        "config": pairing.name,
        "key": ledger.label_of(item, rules.mapping),
        "state": item.tie.state if item.tie.id is not None else "not linked yet",
        "sentence": _sentence(item.decision, bool(planned and all(change.guard for change in planned))),
        "left": _look(item.left),
        "right": _look(item.right),
        "left_shadow": _fields(item.tie.left),
        "right_shadow": _fields(item.tie.right),
        "rule": _rules(item.decision),
        "next": [
            {
                "side": change.intent.side,
                "operation": change.intent.operation,
                "after": _fields(change.intent.after),
                "rule": change.intent.rule,
                "held": change.guard,
            }
            for change in planned
        ],
        "under": {str(policy): _under(item, rules, policy) for policy in ConflictPolicy},
    }


def _under(item: Item, rules: Rules, policy: ConflictPolicy) -> list[str]:
    """What would be done if the conflict policy were another one."""
    other = replace(rules, policy=replace(rules.policy, conflict=policy))
    decision = reconcile(item.tie, item.left, item.right, other)
    said = [
        f"{intent.operation} on {intent.side}"
        + (
            f": {', '.join(f'{name} = {display(value)}' for name, value in intent.after.items())}"
            if intent.after
            else ""
        )
        for intent in decision.intents
    ]
    said += [
        f"conflict on {conflict.field or 'the record'} waits for a person" for conflict in decision.conflicts
    ]
    return said or ["nothing"]


def _rules(decision: Decision) -> dict[str, str]:
    found: dict[str, str] = {}
    for intent in decision.intents:
        found.update(intent.rules or {"": intent.rule})
    return found


def _sentence(decision: Decision, held: bool) -> str:
    if decision.waits:
        return f"Nothing happens: {decision.waits}."
    if decision.excluded:
        return f"It takes no part: {decision.excluded}."
    if decision.problems:
        return f"It is set aside: {decision.problems[0].message}"
    if decision.conflicts:
        names = ", ".join(conflict.field or "the record" for conflict in decision.conflicts)
        return f"Both sides changed {names}: a person must decide."
    if held:
        return "A change is planned, and a guard holds it until a person has looked."
    if decision.intents:
        return "The next run writes it: " + "; ".join(
            f"{intent.operation} on {intent.side} ({intent.rule})" for intent in decision.intents
        )
    return "Both sides agree: the next run does nothing."


def _look(found: Look) -> dict[str, Any]:
    match found:
        case Seen():
            return {
                "state": "there",
                "id": found.id,
                "fields": _fields(found.values),
                "problems": dict(found.problems),
            }
        case OutOfScope():
            return {"state": "outside the filter", "id": found.seen.id, "fields": _fields(found.seen.values)}
        case Gone():
            return {"state": "not there"}
        case Unknown():
            return {"state": "unknown", "reason": found.reason}


def _fields(values: Fields) -> dict[str, str | None]:
    return {name: None if value is None else display(value) for name, value in values.items()}


def _not_taking_part(outlook: Outlook, pairing: Pairing, key: str) -> dict[str, Any]:
    """A record that is there and has no item: keyless, ambiguous, outside the filter, foreign."""
    mapping = pairing.built.rules.mapping
    for side in SIDES:
        scope = pairing.built.scopes[side]
        for record in (*outlook.scans[side].new.values(), *outlook.scans[side].changed.values()):
            seen = mapping.see(side, record)
            if key not in (seen.id, mapping.label(side, seen.values, seen.id)):
                continue
            problem = next(
                (
                    item
                    for item in outlook.plan.problems
                    if item.side == side and item.extra.get("id") == seen.id
                ),
                None,
            )
            if problem is not None:
                why = f"It is set aside: {problem.message}"
            elif scope is not None and not scope.includes(record):
                why = f"It takes no part: the filter of {side} leaves it out."
            elif mapping.match_key(side, seen.values) is None:
                why = f"It takes no part: its match field is empty on {side}."
            else:
                why = f"It takes no part: it stands only on {side}, from which nothing is copied."
            looks = {side: _look(seen)}
            return {
                "config": pairing.name, "key": key, "state": "not linked", "sentence": why,
                "left": looks.get("left", {"state": "not there"}),
                "right": looks.get("right", {"state": "not there"}),
                "left_shadow": {}, "right_shadow": {}, "rule": {}, "next": [], "under": {},
            }  # fmt: skip
    raise NotFound(f"'{pairing.name}' knows no record '{key}': it is on neither side, by id or match value.")


def lines(answer: dict[str, Any]) -> Iterator[str]:
    """The explanation as a person reads it in a terminal."""
    yield f"{answer['config']}: {answer['key']} ({answer['state']})"
    yield answer["sentence"]
    names = sorted(
        {
            *answer["left"].get("fields", {}),
            *answer["right"].get("fields", {}),
            *answer["left_shadow"],
            *answer["right_shadow"],
        }
    )
    for name in names:
        yield (
            f"  {name}: left {answer['left'].get('fields', {}).get(name)!r}"
            f" (agreed {answer['left_shadow'].get(name)!r}),"
            f" right {answer['right'].get('fields', {}).get(name)!r}"
            f" (agreed {answer['right_shadow'].get(name)!r})"
        )
    for policy, said in answer["under"].items():
        yield f"  under {policy}: {'; '.join(said)}"
    for issue in answer["issues"]:
        yield f"  issue since {issue['since']}: {issue['message']}"
    for entry in answer["history"][:5]:
        yield f"  {entry['at']} {entry['operation']} on {entry['side']}: {entry['state']} ({entry['rule']})"

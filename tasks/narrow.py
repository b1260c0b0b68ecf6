"""Runs that are about a part: the records of a retry, a backfill's stated range, or what a preview showed.

Both sides are read and planned as ever; what lies outside the part is left for an ordinary run.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any

from sync.mapping import Seen
from sync.planner import Item
from sync.records import SIDES
from tasks import previews
from tasks.apply import Work
from tasks.errors import WorkError
from tasks.look import Outlook
from tasks.sides import Pairing


def narrow(work: Work, outlook: Outlook, options: Mapping[str, Any]) -> None:
    """Keep of the plan what the run's options name: `keys` of records, `since` and `until`, or `preview`, the
    run that showed it.

    Raises WorkError for a range where the sync knows no modified time, and for a preview that is gone.
    """
    if "keys" in options:
        wanted = set(options["keys"])
        _keep(outlook, {id(change.tie) for change in outlook.plan.changes if change.key in wanted})
    if "since" in options:
        _keep(outlook, _in_range(outlook, work.pairing, options))
    if "preview" in options:
        shown = previews.fingerprints(work.ctx, options["preview"])
        say_what_is_kept(work, keep_shown(outlook, shown), shown)


def _keep(outlook: Outlook, ties: set[int]) -> None:
    plan = outlook.plan
    left_out = {id(change.tie) for change in plan.changes} - ties
    plan.items = [item for item in plan.items if id(item.tie) not in left_out]
    plan.changes = [change for change in plan.changes if id(change.tie) in ties]
    outlook.narrowed = True


def keep_shown(outlook: Outlook, shown: Set[str]) -> int:
    """Keep the records whose changes are all among those that a preview showed; how many changes that are."""
    changes = outlook.plan.changes
    ties = {id(change.tie) for change in changes}
    ties -= {id(change.tie) for change in changes if change.fingerprint not in shown}
    _keep(outlook, ties)
    return len({change.fingerprint for change in outlook.plan.changes})


def say_what_is_kept(work: Work, kept: int, shown: Set[str]) -> None:
    work.reins.log(
        "info",
        f"{kept} of {len(shown)} changes are still as the preview showed them. What is otherwise by now is"
        " left for another run.",
    )


def _in_range(outlook: Outlook, pairing: Pairing, options: Mapping[str, Any]) -> set[int]:
    """The ties of changes whose record was modified in the range. A delete has no time: it stays out."""
    mapping = pairing.built.rules.mapping
    if mapping.left_modified is None and mapping.right_modified is None:
        raise WorkError(
            "A run over a range needs `modified` in the sync's definition: the fields that hold the times"
            " by which a record is in the range or not.",
            code="range",
        )
    since = datetime.fromisoformat(options["since"])
    until = datetime.fromisoformat(options["until"]) if options.get("until") else None
    items = {id(item.tie): item for item in outlook.plan.items}
    return {
        id(change.tie)
        for change in outlook.plan.changes
        if change.intent.operation != "delete" and _is_in(items.get(id(change.tie)), since, until)
    }


def _is_in(item: Item | None, since: datetime, until: datetime | None) -> bool:
    if item is None:
        return False
    times = [look.modified for look in map(item.look, SIDES) if isinstance(look, Seen) and look.modified]
    return any(since <= time and (until is None or time < until) for time in times)

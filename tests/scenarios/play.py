"""Rows of the truth table, played: many records in one sync, each with its own story."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from sync.records import Side
from tests.scenarios.truth import ROWS, Policy, Row
from tests.scenarios.world import Making, Story, Teller, in_memory

_OPPOSITE: dict[Policy, Policy] = {
    "left_wins": "right_wins",
    "right_wins": "left_wins",
    "newest_wins": "manual",
    "manual": "newest_wins",
}
_SIDES: dict[str, Side] = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class Played:
    """What became of one row's record."""

    did: str
    link: str


def play(row: Row, policy: Policy, *, swapped: bool, system: Making = in_memory) -> Played:
    """Play a row under a policy. Rows that need the same definition share one sync."""
    return _play_all(_stage(row), policy, swapped, system)[ROWS.index(row)]


def play_alone(row: Row, policy: Policy, *, swapped: bool) -> Played:
    return _play([row], policy, swapped, in_memory)[ROWS.index(row)]


def _stage(row: Row) -> str:
    """What rows must have in common to be played together."""
    return json.dumps(
        [row.policy, row.opened_by_hand, row.switched, row.forbidden, row.protected], sort_keys=True
    )


@cache
def _play_all(stage: str, policy: Policy, swapped: bool, system: Making) -> dict[int, Played]:
    return _play([row for row in ROWS if _stage(row) == stage], policy, swapped, system)


def _play(rows: list[Row], policy: Policy, swapped: bool, system: Making) -> dict[int, Played]:
    like = rows[0]
    keys = {f"{row.id.lower()}-{ROWS.index(row)}": row for row in rows}
    story = Story(system=system, swapped=swapped)
    before: Policy = "manual" if like.opened_by_hand else _OPPOSITE[policy] if like.switched else policy
    story.define(guards="off", modified={"left": "at", "right": "at"}, conflict=before, **like.policy)
    for key, row in keys.items():
        if row.given is not None:
            story.both(key, **_fields(row.given))
    story.base()
    stages = {key: row.acts.split("|") for key, row in keys.items()}
    length = max(len(acts) for acts in stages.values())
    removed: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for number in range(length):
        for key, acts in stages.items():
            index = number - (length - len(acts))
            for act in _acts(acts[index]) if index >= 0 else ():
                story.wait(seconds=10)
                _do(story, key, act, removed)
        if number == length - 1:
            story.define(conflict=policy)
            for key, row in keys.items():
                if row.forbidden:
                    story.right.knobs.snapshot = False
                    story.right.knobs.forbidden.add(story.right.id(key))
                if row.protected:
                    story.right.knobs.protected.add(story.right.id(key))
        story.run(repeat=number == length - 1, preview=number == length - 1)
    return {ROWS.index(row): Played(story.of(key), _link(story, key)) for key, row in keys.items()}


def _link(story: Story, key: str) -> str:
    return next((row.state for row in reversed(story.links()) if row.key.strip('"') == key), "")


@dataclass(frozen=True)
class Act:
    side: Side
    verb: str  # edit, add, remove, restore
    fields: dict[str, Any]


def _acts(text: str) -> Iterator[Act]:
    parts = text.split()
    while parts:
        part = parts.pop(0)
        side = _SIDES[part[0]]
        if part == f"{part[0]}+":
            fields = []
            while parts and "=" in parts[0] and "." not in parts[0].partition("=")[0]:
                fields.append(parts.pop(0))
            yield Act(side, "add", _fields(" ".join(fields)))
        elif part == f"{part[0]}-":
            yield Act(side, "remove", {})
        elif parts and parts[0] == "back":
            parts.pop(0)
            yield Act(side, "restore", {})
        else:
            yield Act(side, "edit", _fields(part[2:]))


def _do(story: Story, key: str, act: Act, removed: dict[tuple[str, str], tuple[str, dict[str, Any]]]) -> None:
    side: Teller = story.left if act.side == "left" else story.right
    match act.verb:
        case "add":
            side.put(key, at=story.now, **act.fields)
        case "remove":
            removed[act.side, key] = side.id(key), dict(side.row(key))
            side.remove(key)
        case "restore":
            record_id, row = removed[act.side, key]
            side.system.store.put({**row, "at": story.now}, record_id)
        case _:
            side.edit(key, at=story.now, **act.fields)


def _fields(text: str) -> dict[str, Any]:
    return dict(part.split("=", 1) for part in text.split())

"""Two hostile systems, people who edit whenever they like, a worker that dies: G-* after every step.

`make test-machine EXAMPLES=2000 SEED=1` runs as many examples as are asked for; the seed, which every run
prints, repeats it.
"""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.machine.model import KEY, LEFT, OTHER, RIGHT, SIDES, Rules, Way
from tests.machine.world import NAMES, Moment, World

ASKED_FOR = os.environ.get("MACHINE_EXAMPLES", "")
EXAMPLES = int(ASKED_FOR or 60)
SHARDS = 8 if ASKED_FOR else 2
STEPS = 30 if ASKED_FOR else 16
SEED = int(os.environ.get("MACHINE_SEED") or (0 if os.environ.get("CI") else random.randrange(10**9)))

KEYS = ["k1", "k2", "k3", "k4", "k5", "k6", None]
VALUES: dict[str, list[Any]] = {
    "name": ["ann", "Bo ", "bo", "Cy", None, ""],
    "tier": ["x", "y", "z", None],
    "n": [0, 1, 2, 9007199254740993, None],
    "note": ["p", "q", None],
    "flag": [True, False, None],
}

sides = st.sampled_from(SIDES)
keys = st.sampled_from(KEYS)
picks = st.integers(0, 30)
rows = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})
edits = st.dictionaries(st.sampled_from(list(VALUES)), st.integers(0, 5), min_size=1, max_size=2).map(
    lambda chosen: {name: VALUES[name][index % len(VALUES[name])] for name, index in chosen.items()}
)
policies = st.sampled_from(["left_wins", "right_wins", "newest_wins", "manual"])
deletions = st.sampled_from(["never", "propagate", "propagate", "archive", "unlink", "approve"])


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    direction = draw(st.sampled_from([SIDES, SIDES, SIDES, (RIGHT,), (LEFT,)]))
    granularity = draw(st.sampled_from(["field", "field", "record"]))
    own = draw(st.sampled_from([None, "left_wins", "right_wins", "manual"]))
    fields = {name: Way() for name in NAMES}
    if direction == SIDES:
        fields["note"] = Way(to=(RIGHT,))
        if granularity == "field":
            fields["tier"] = Way(conflict=own)
    return Rules(
        direction=direction,
        fields=fields,
        conflict=draw(policies),
        tie=draw(st.sampled_from(["left_wins", "right_wins", "manual"])),
        granularity=granularity,
        edit_vs_delete=draw(st.sampled_from(["edit_wins", "delete_wins", "follow", "manual"])),
        gone_on={LEFT: draw(deletions), RIGHT: draw(deletions)},
        exclusive=direction != SIDES and draw(st.booleans()),
        drift=draw(st.sampled_from(["overwrite", "overwrite", "ignore", "flag"])),
        hold_first=draw(st.booleans()),
    )


knobs = st.fixed_dictionaries(
    {
        "page_size": st.sampled_from([2, 100]),
        "batch_size": st.sampled_from([1, 2, 100]),
        "has_versions": st.booleans(),
        "has_receipts": st.booleans(),
        "shuffles": st.booleans(),
        "snapshot": st.booleans(),
    }
)
beginnings = st.lists(st.tuples(sides, keys, rows), max_size=7)


@lru_cache(maxsize=1)
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="syncline-machine-", dir=_memory()))


def _memory() -> str | None:
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and os.access(shared, os.W_OK) else None


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @property
    def w(self) -> World:
        assert self.world is not None
        return self.world

    @initialize(rules=rules(), knobs=knobs, renders=st.booleans(), base=beginnings)
    def begin(self, rules: Rules, knobs: dict[str, Any], renders: bool, base: list[Any]) -> None:
        note(f"seed {SEED}")
        self.world = World(folder(), rules, knobs, renders=renders)
        for side, key, row in base:
            self.w.make(side, {KEY: key, **row})

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            self.w.settle_down()
        finally:
            self.w.close()

    def pick(self, side: str, number: int) -> str | None:
        ids = self.w.ids(side)
        return ids[number % len(ids)] if ids else None

    # -- people ------------------------------------------------------------------------------------

    @rule(side=sides, number=picks, values=edits, later=st.sampled_from([0, 1, 10]))
    def edit(self, side: str, number: int, values: dict[str, Any], later: int) -> None:
        self.w.stage.advance(later)
        if id := self.pick(side, number):
            self.w.edit(side, id, values)

    @rule(number=picks, left=edits, right=edits)
    def edit_both(self, number: int, left: dict[str, Any], right: dict[str, Any]) -> None:
        linked = [
            bond for bond in self.w.model.bonds if all(bond.ids[side] in self.w.ids(side) for side in SIDES)
        ]
        if linked:
            bond = linked[number % len(linked)]
            self.w.edit(LEFT, bond.ids[LEFT] or "", left)
            self.w.stage.advance(5)
            self.w.edit(RIGHT, bond.ids[RIGHT] or "", right)

    @rule(side=sides, number=picks, key=keys)
    def rename(self, side: str, number: int, key: str | None) -> None:
        if id := self.pick(side, number):
            self.w.edit(side, id, {KEY: key})

    @rule(side=sides, key=keys, row=rows)
    def create(self, side: str, key: str | None, row: dict[str, Any]) -> None:
        self.w.make(side, {KEY: key, **row})

    @rule(side=sides, number=picks)
    def delete(self, side: str, number: int) -> None:
        if id := self.pick(side, number):
            self.w.delete(side, id)

    @rule(side=sides)
    def delete_all(self, side: str) -> None:
        for id in self.w.ids(side):
            self.w.delete(side, id)

    @rule(side=sides, number=picks)
    def restore(self, side: str, number: int) -> None:
        if trash := list(self.w.trash[side]):
            self.w.restore(side, trash[number % len(trash)])

    @rule(number=picks, on=st.sampled_from([(LEFT,), (RIGHT,), SIDES]))
    def make_anew(self, number: int, on: tuple[str, ...]) -> None:
        for side in on:
            if id := self.pick(side, number):
                self.w.make_anew(side, id)

    @rule(shift=st.integers(1, 3), on=st.sampled_from([(LEFT,), (RIGHT,), SIDES]))
    def number_anew(self, shift: int, on: tuple[str, ...]) -> None:
        for side in on:
            self.w.number_anew(side, shift)

    # -- what people say ---------------------------------------------------------------------------

    @rule(number=picks, every=st.booleans())
    def approve(self, number: int, every: bool) -> None:
        held = self.w.stage.held()
        if held:
            self.w.approve(held if every else [held[number % len(held)]])

    @rule(number=picks)
    def dismiss(self, number: int) -> None:
        if held := self.w.stage.held():
            self.w.dismiss(held[number % len(held)])

    @rule(number=picks, side=sides)
    def resolve(self, number: int, side: str) -> None:
        if conflicts := self.w.stage.conflicts():
            self.w.resolve(conflicts[number % len(conflicts)], side)

    @rule(
        conflict=policies,
        versus=st.sampled_from(["edit_wins", "delete_wins", "follow", "manual"]),
        gone=deletions,
    )
    def change_policy(self, conflict: str, versus: str, gone: str) -> None:
        rules = self.w.rules
        self.w.redefine(
            replace(rules, conflict=conflict, edit_vs_delete=versus, gone_on={**rules.gone_on, LEFT: gone})
        )

    @rule()
    def change_mapping(self) -> None:
        rules = self.w.rules
        fields = dict(rules.fields)
        if "tier" in fields:
            del fields["tier"]
        else:
            fields["tier"] = Way()
        self.w.redefine(replace(rules, fields=fields))

    # -- runs --------------------------------------------------------------------------------------

    @rule()
    def run(self) -> None:
        self.w.run()

    @rule()
    def run_twice(self) -> None:
        self.w.run()
        self.w.run()

    @rule()
    def preview_and_run(self) -> None:
        with self.w.nothing_stored():
            seen = self.w.stage.preview()
        planned = [item for item in seen.changes or () if item["state"] == "planned"]
        self.w.run()
        wanted = sorted((op.side, op.kind) for op in self.w.model.writes)
        assert sorted((item["side"], item["operation"]) for item in planned) == wanted

    @rule()
    def preview_that_is_kept(self) -> None:
        """What a preview showed is carried out or lies around: nothing else comes of it."""
        self.w.show()

    @rule()
    def carry_out_what_was_shown(self) -> None:
        """Edits since then or not: what nobody has seen is not written."""
        self.w.carry_out_what_was_shown()

    @rule(side=sides, number=picks)
    def run_with_a_protected_record(self, side: str, number: int) -> None:
        """G-ISO: what is refused for one record changes nothing for the others."""
        id = self.pick(side, number)
        if id is None:
            return
        self.w.systems[side].knobs.protected.add(id)
        try:
            self.w.run(protected={side: {id}, OTHER[side]: set()})
        finally:
            self.w.systems[side].knobs.protected.clear()

    @rule(step=st.integers(1, 25), after=st.booleans(), again=st.integers(0, 25))
    def run_and_die(self, step: int, after: bool, again: int) -> None:
        """G-CRASH: a dead worker's run, taken over, ends where it would have ended."""
        self.w.crash(step, after=after, again=again)

    @rule(side=sides, fault=st.sampled_from(["lost_requests", "lost_answers", "partial", "missing_outcomes"]))
    def run_and_lose_an_answer(self, side: str, fault: str) -> None:
        self.w.lose(side, fault)

    @rule(side=sides, page=st.integers(1, 3), cut=st.booleans())
    def run_with_half_a_read(self, side: str, page: int, cut: bool) -> None:
        self.w.read_half(side, page, cut=cut)

    @rule(step=st.integers(1, 6), moment=st.sampled_from(["a page", "a write", "behind a write"]))
    def run_delivered_twice(self, step: int, moment: Moment) -> None:
        # A run has more pages than writes.
        self.w.deliver_twice(step if moment == "a page" else (step + 1) // 2, moment)

    @rule(at=st.integers(1, 6), side=sides, number=picks, values=edits, away=st.booleans())
    def run_while_somebody_edits(
        self, at: int, side: str, number: int, values: dict[str, Any], away: bool
    ) -> None:
        if id := self.pick(side, number):
            self.w.run_meanwhile(at, side, id, None if away else values)


@pytest.mark.timeout(7200 if ASKED_FOR else 900)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_whatever_happens_both_sides_come_to_agree(shard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if shard % 2:  # as if every record that moved were one of many
        monkeypatch.setattr("sync.diff.MANY", 0)
    examples = EXAMPLES // SHARDS + (shard < EXAMPLES % SHARDS)
    print(f"SEED={SEED}: {examples} examples of {STEPS} steps")
    seed(SEED + shard)(Machine)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )

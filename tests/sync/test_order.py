"""Whatever keys change places, every write is possible when its turn comes, and all end where they should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.order import in_order
from sync.values import FieldType
from tests.sync.plans import change, rules

KINDS: dict[FieldType, Callable[[int], Any]] = {
    FieldType.TEXT: lambda n: f"key {n}",
    FieldType.INTEGER: lambda n: n,
}
kinds = pytest.mark.parametrize("kind", list(KINDS))


@st.composite
def moves(draw: st.DrawFn) -> tuple[list[int], dict[int, int], set[int], list[int], Any]:
    """Keys that stand there; which of them move where; which records go; which keys are new."""
    standing = draw(st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=8))
    gone = {key for key in standing if draw(st.integers(0, 4)) == 0}
    staying = [key for key in standing if key not in gone]
    moving = [key for key in staying if draw(st.booleans())]
    still = set(staying) - set(moving)
    free = [key for key in range(12) if key not in still]
    targets = draw(st.permutations(free))[: len(moving)]
    rest = [key for key in free if key not in targets]
    fresh = draw(st.lists(st.sampled_from(rest), unique=True, max_size=3)) if rest else []
    return (
        standing,
        dict(zip(moving, targets, strict=True)),
        gone,
        fresh,
        draw(st.randoms(use_true_random=False)),
    )


@kinds
@given(given_=moves())
def test_no_write_ever_meets_a_key_that_is_taken(kind: FieldType, given_: Any) -> None:
    standing, moved, gone, fresh, chance = given_
    key = KINDS[kind]
    table = {f"t{number}": key(number) for number in standing}
    changes = [change("delete", number, before={"k": key(number)}) for number in gone]
    changes += [
        change("update", old, before={"k": key(old)}, after={"k": key(new)})
        for old, new in moved.items()
        if old != new
    ]
    changes += [change("create", 100 + new, after={"k": key(new)}) for new in fresh]
    chance.shuffle(changes)
    steps = in_order(changes, rules(kind))
    for step in steps:
        intent = step.change.intent
        target = step.change.record_id or f"made {step.change.key}"
        if intent.operation == "delete":
            del table[target]
            continue
        if intent.operation == "update":
            stands = {**intent.before, **step.moved}["k"]
            assert table[target] == stands, "the write expects what is not there"
        new = intent.after["k"]
        assert new not in [value for id, value in table.items() if id != target], "the key is taken"
        table[target] = new
    wanted = {f"t{number}": key(moved.get(number, number)) for number in standing if number not in gone}
    wanted |= {f"made k{100 + new}": key(new) for new in fresh}
    assert table == wanted
    assert len(steps) <= 2 * len(changes)


@given(given_=moves())
def test_nobody_steps_aside_where_a_turn_is_enough(given_: Any) -> None:
    """Without a circle there is one write for each change."""
    _, moved, _, _, chance = given_
    ahead = {old: new for old, new in moved.items() if new > old}
    changes = [
        change("update", old, before={"k": str(old)}, after={"k": str(new)}) for old, new in ahead.items()
    ]
    chance.shuffle(changes)
    steps = in_order(changes, rules())
    assert len(steps) == len(changes) and not any(step.is_aside for step in steps)

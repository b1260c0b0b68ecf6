"""What is said of the scenarios that cannot be played where no memory holds the records."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.scenarios import not_there
from tests.scenarios.ids import CASES, ELSEWHERE, all_tests, covered

pytestmark = pytest.mark.parametrize("missing", not_there.OF.values(), ids=not_there.OF)


def named(entry: str) -> str:
    """An entry without its orientation."""
    return entry.partition("|")[0]


def test_each_entry_is_a_test_and_stands_once(missing: not_there.Missing) -> None:
    entries = [
        name for table in (missing.asks, missing.otherwise) for names in table.values() for name in names
    ]
    assert [entry for entry, count in Counter(entries).items() if count > 1] == []
    tests = {test.partition("::")[2].partition("[")[0].removeprefix("test_") for test in all_tests()}
    assert {named(entry).partition("[")[0] for entry in entries} <= tests


def test_no_case_is_lost_there_unnoticed(missing: not_there.Missing) -> None:
    """A case whose tests all stand in the table is said to be held by memory alone."""
    whole = {entry for entry in missing.listed() if "|" not in entry}
    left = [
        test
        for test in all_tests() - set(ELSEWHERE.values())
        if (name := test.partition("::test_")[2]) not in whole and name.partition("[")[0] not in whole
    ]
    not_held = set(CASES) - covered(left) - set(ELSEWHERE)
    assert not_held <= set(missing.not_held) <= set(CASES)

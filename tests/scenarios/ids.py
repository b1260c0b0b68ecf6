"""The ids of the cases that the engine must hold, and which of them a test is named after.

A test takes an id by its own name (`test_K04_a_second_record`) or by the name of one of its parameters. The
cases about the queue and its workers are tests of the work itself, listed here by name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CASES = """
T01 T02 T03 T04 T05 T06 T07 T08 T09 T10 T11 T12 T13 T14 T15 T16 T17 T18 T19 T20 T21 T22 T23 T24 T25
T26 T27 T28 T29 T30
K01 K02 K04 K05 K07 K08 K10 K11 K13 K14 K16 K17 K19 K20 K22
R01 R02 R04 R05 R07 R08 R10 R11 R13 R14 R16 R17 R19 R20 R22 R23 R25 R26 R28
G01 G02 G04 G05 G07 G08 G10 G11 G13 G14
C01 C02 C04 C05 C07 C08 C10 C11 C13 C14 C16 C17 C19 C20 C22 C23 C25 C26 C28 C29 C31 C32
V01 V02 V04 V05 V07 V08 V10 V11 V13 V14 V16 V17 V19 V20 V22 V23 V25 V26 V28 V29 V31 V32 V34 V35 V37
S01 S02 S04 S05 S07 S08 S10 S11 S13 S14 S16 S17
L01 L02 L04 L05 L07 L08 A01 A02 A04 A05 A07 H01 H02 H04 H05 H07 H08
P01 P02 P04 P05 P07 P08 P10 D01 D02 D04 U01 U02 U04 X01 X02 X04 X05 X07
"""
CASES = tuple(_CASES.split())

# Where a case is about the line of runs rather than about records.
ELSEWHERE = {
    "C10": "tests/tasks/test_claims.py::test_of_many_who_claim_a_run_one_gets_it",
    "C11": "tests/tasks/test_claims.py::test_a_worker_that_wakes_up_late_can_write_nothing",
    "C19": "tests/tasks/test_shift.py::test_a_long_quota_wait_gives_the_run_back_with_its_time",
    "C22": "tests/tasks/test_breaker.py::"
    "test_a_run_that_gets_through_closes_it_with_a_recovery_notice_and_the_rest_follows",
    "C28": "tests/tasks/test_due.py::test_a_slot_during_a_run_is_skipped_and_says_so",
    "C29": "tests/tasks/test_retries.py::test_a_second_click_and_a_second_person_join_the_first",
    "C31": "tests/tasks/test_due.py::test_an_overdue_config_raises_one_alarm_that_is_cleared_when_it_moves",
    "C32": "tests/tasks/test_breaker.py::test_refused_credentials_open_it_after_three",
}
ROOT = Path(__file__).parents[2]
_ID = re.compile(r"(?<![A-Za-z0-9])[A-Z]\d\d(?![A-Za-z0-9])")


def named_in(text: str) -> set[str]:
    """The cases whose id stands in the name of a test."""
    return set(_ID.findall(text.replace("_", " "))) & set(CASES)


def covered(tests: Iterable[str]) -> set[str]:
    """The cases that these tests hold, by their node ids."""
    elsewhere = {place: case for case, place in ELSEWHERE.items()}
    found: set[str] = set()
    for test in tests:
        path, _, name = test.partition("::")
        if path.startswith("tests/scenarios/"):
            found |= named_in(name)
        elif (bare := test.partition("[")[0]) in elsewhere:
            found.add(elsewhere[bare])
    return found


def all_tests() -> set[str]:
    """The node ids of all tests here and of those listed elsewhere, without running pytest."""
    paths = {
        *sorted(Path(__file__).parent.glob("test_*.py")),
        *(_path(place) for place in ELSEWHERE.values()),
    }
    return {name for path in paths for name in _tests_in(path)}


def _path(place: str) -> Path:
    return ROOT / place.partition("::")[0]


def _tests_in(path: Path) -> set[str]:
    """A test for each function, and one more for each set of parameters that has a name."""
    import importlib

    place = path.relative_to(ROOT).as_posix()
    module = importlib.import_module(place.removesuffix(".py").replace("/", "."))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [item.name for item in tree.body if isinstance(item, ast.FunctionDef)]
    found: set[str] = set()
    for name in names:
        if name.startswith("test_"):
            found.add(f"{place}::{name}")
            for parameters in _parameters(getattr(module, name)):
                found.add(f"{place}::{name}[{parameters}]")
    return found


def _parameters(function: Any) -> Iterable[str]:
    for mark in getattr(function, "pytestmark", ()):
        if mark.name != "parametrize":
            continue
        ids = mark.kwargs.get("ids")
        for value in mark.args[1]:
            if getattr(value, "id", None) and not callable(ids):
                yield str(value.id)
            elif callable(ids):
                yield str(ids(value))

"""No case of the specification loses its test."""

from __future__ import annotations

from tests.scenarios.ids import CASES, ELSEWHERE, all_tests, covered


def test_every_case_has_a_test() -> None:
    tests = all_tests()
    assert set(ELSEWHERE.values()) <= tests, "a test that stands for a case is no longer there"
    missing = [case for case in CASES if case not in covered(tests)]
    assert not missing, f"no test is named after {', '.join(missing)}"

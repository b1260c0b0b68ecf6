"""A short fault run of each kind, and the proof that it would see a missing safeguard.

`make test-faults-short` runs these; `make test-faults` is the long one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.house import Plan
from tests.faults.run import control, fault_run, show

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
SEED = 7


def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    plan = Plan(configs=6, records=80, lease=4.0, clocks=True)
    report = fault_run("short", seed=SEED, seconds=25, least=3, plan=plan, keep_log=tmp_path / "log")
    show(report)
    assert sum(report.injected.values()) >= 3
    assert report.violations == []


@pytest.mark.parametrize(
    ("without", "seen"), [("fencing", "I"), ("ring_again", "I2 stuck"), ("look_up", "I8 journal")]
)
def test_a_missing_safeguard_is_seen(without: str, seen: str, tmp_path: Path) -> None:
    report = control(without, seed=SEED, keep_log=tmp_path / "log")
    show(report)
    assert [item for item in report.violations if item.startswith(seen)]

"""A short fault run of each kind, and the proof that it would see a missing safeguard.

`make test-faults-short` runs these; `make test-faults` is the long one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.run import fault_run, show

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
SEED = 7


def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    report = fault_run("short", seed=SEED, seconds=25, configs=6, records=80, keep_log=tmp_path / "log")
    show(report)
    assert sum(report.injected.values()) >= 3
    assert report.violations == []


@pytest.mark.parametrize(
    ("without", "scenario", "seen"),
    [("fencing", "pause", "I"), ("ring_again", "flush", "I2 stuck"), ("look_up", "kill", "I8 journal")],
)
def test_a_missing_safeguard_is_seen(without: str, scenario: str, seen: str) -> None:
    report = fault_run(
        scenario,
        seed=SEED,
        seconds={"pause": 12.0, "flush": 4.0, "kill": 12.0}[scenario],
        configs=4,
        records=300,
        without=without,
        stuck_seconds=8,
        commit_seconds=0.01,  # so that the fault falls into a write
    )
    show(report)
    assert [item for item in report.violations if item.startswith(seen)]

"""A fault run: `python -m tests.faults.run --scenario kill --seed 1 --seconds 60`.

Phases: warm-up, faults while people edit both sides, heal, wait, check. Prints a table and one line of
JSON; exit code 1 on a violation. `--without` takes a safeguard away: then violations must be reported.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic

import psycopg

from tests.faults import check
from tests.faults.drive import FAULTS, ROLES, Driver, Impatient, ask_for_run
from tests.faults.ends import People
from tests.faults.house import House
from tests.faults.worker import CONTROLS

HEAL_SECONDS = 180.0  # after the last fault, everything must have settled
STUCK_SECONDS = 60.0


@dataclass
class Report:
    seed: int
    scenario: str
    without: str
    seconds: float
    configs: int
    records: int
    injected: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    writes: int = 0
    edits: int = 0
    interrupted: int = 0
    recovery_p50_s: float | None = None
    recovery_p95_s: float | None = None
    slowest_term_s: float | None = None
    settled_s: float = 0.0


def fault_run(
    scenario: str,
    *,
    seed: int,
    seconds: float,
    configs: int = 40,
    records: int = 250,
    without: str = "",
    stuck_seconds: float = STUCK_SECONDS,
    heal_seconds: float = HEAL_SECONDS,
    commit_seconds: float = 0.004,
    keep_log: Path | None = None,
) -> Report:
    report = Report(seed, scenario, without, seconds, configs, configs * records)
    with tempfile.TemporaryDirectory(prefix="syncline-faults-") as name:
        house = House(
            Path(name),
            configs=configs,
            records=records,
            without=without,
            proxied=scenario == "proxy",
            commit_seconds=commit_seconds,
        )
        try:
            _carry_out(house, report, stuck_seconds, heal_seconds)
        finally:
            house.close()
            if keep_log is not None and house.log.exists():
                keep_log.write_bytes(house.log.read_bytes())
    return report


def _carry_out(house: House, report: Report, stuck_seconds: float, heal_seconds: float) -> None:
    for role in ROLES:
        house.start(role)
    people = People(house.ends, report.seed, every=max(0.03, report.seconds / 7500))
    impatient = Impatient(house, report.seed, every=0.15)
    house.wait(lambda: house.ask("SELECT 1 FROM processes LIMIT 1"), 30)
    people.start()
    impatient.start()
    driver = Driver(house, report.seed, report.seconds)
    try:
        driver.run(report.scenario)
    finally:
        for thread in (people, impatient):
            thread.stop.set()
        for thread in (people, impatient):
            thread.join(70)
    driver.finish(report.scenario)
    if people.broken is not None:
        raise people.broken
    report.violations += _heal(house, report, stuck_seconds, heal_seconds)
    every = check.moves(house)
    report.violations += [
        *check.records(house),
        *check.journal(house),
        *check.tokens(house, every),
        *check.rows(house),
    ]
    _figures(house, report, driver, every)


def _heal(house: House, report: Report, stuck_seconds: float, heal_seconds: float) -> list[str]:
    """No more faults and no more slots: what is under way must come to its end without anybody's help."""
    if house.proxy is not None:
        house.proxy.mode = "pass"
    house.restart_the_dead()
    with psycopg.connect(house.plain_state_url, autocommit=True) as db:
        db.execute("UPDATE sync_configs SET next_run_at = NULL, auto = false")
    begun = monotonic()
    stuck: list[str] = []

    def settled() -> bool:
        house.restart_the_dead()
        if monotonic() - begun > stuck_seconds:
            stuck[:] = check.stuck(house, stuck_seconds)
        return bool(stuck) or _open(house) == 0

    if not house.wait(settled, heal_seconds, 0.25):
        stuck.append(f"I2 stuck: {_open(house)} runs are open {heal_seconds:.0f} s after the last fault")
    report.settled_s = round(monotonic() - begun, 2)
    if stuck:
        return stuck
    for _ in range(4):  # whatever anybody edited last needs a run or two of its own
        for config_id in house.config_ids:
            ask_for_run(house, config_id, full=True)
        if not house.wait(lambda: _open(house) == 0, heal_seconds, 0.25):
            return [f"I2 stuck: {_open(house)} of the last runs did not end"]
        if not check.records(house):
            break
    return []


def _open(house: House) -> int:
    (number,) = house.ask("SELECT count(*) FROM sync_runs WHERE state IN ('queued', 'running')")[0]
    return int(number)


def _figures(house: House, report: Report, driver: Driver, every: list[check.Move]) -> None:
    times = check.recoveries(every, driver.taken_down)
    report.injected = dict(driver.injected)
    report.runs = {str(s): n for s, n in house.ask("SELECT state, count(*) FROM sync_runs GROUP BY state")}
    with house.ends.connect() as db:
        report.writes = len(house.ends.log(db))
    report.edits = sum(house.ends.edits.values())
    report.interrupted = len(times)
    report.recovery_p50_s = check.share(times, 0.5)
    report.recovery_p95_s = check.share(times, 0.95)
    report.slowest_term_s = round(max(house.terms), 2) if house.terms else None
    if house.sigkills_needed or any(took >= check.SLOWEST_TERM for took in house.terms):
        report.violations.append(f"F-02 SIGTERM: the slowest exit took {report.slowest_term_s} s")


def show(report: Report) -> None:
    kinds = Counter(" ".join(item.split(":")[0].split()[:2]) for item in report.violations)
    for name, value in asdict(report).items():
        if name == "violations":
            value = f"{len(report.violations)} {dict(kinds) if kinds else ''}"
        print(f"  {name:<16} {value}")
    for item in report.violations[:20]:
        print(f"  ! {item}")
    print(json.dumps(asdict(report) | {"violations": len(report.violations)}), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenario", choices=[*FAULTS, "every"], default="kill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--configs", type=int, default=40)
    parser.add_argument("--records", type=int, default=250, help="in each config")
    parser.add_argument("--without", choices=list(CONTROLS), default="", help="a negative control")
    parser.add_argument("--stuck-seconds", type=float, default=STUCK_SECONDS)
    parser.add_argument("--log", type=Path, help="where to keep what the processes said")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scenarios = list(FAULTS) if chosen.scenario == "every" else [chosen.scenario]
    code = 0
    for scenario in scenarios:
        report = fault_run(
            scenario,
            seed=chosen.seed,
            seconds=chosen.seconds,
            configs=chosen.configs,
            records=chosen.records,
            without=chosen.without,
            stuck_seconds=chosen.stuck_seconds,
            keep_log=chosen.log,
        )
        show(report)
        code = code or int(bool(report.violations))
    return code


if __name__ == "__main__":
    sys.exit(main())

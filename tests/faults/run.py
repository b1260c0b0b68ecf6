"""A fault run: `python -m tests.faults.run --scenario kill --seed 1 --seconds 60`.

Phases: warm-up, faults while people edit both sides, heal, wait until everything has come to its end, check.
Prints a table and, per scenario, one line of JSON; exit code 1 on a violation, and for a negative control
that was not caught.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic

from tests.faults import check, disk, figures
from tests.faults.drive import Driver, Impatient, Visitor, ask_for_run
from tests.faults.ends import People
from tests.faults.house import House, Plan
from tests.faults.worker import CONTROLS

HEAL_SECONDS = 180.0  # after the last fault, everything must have settled
STUCK_SECONDS = 60.0
KILL_SECONDS = 2.4  # from one kill to the next, where their number is given
ON_SQLITE = "sqlite"  # `kill` with one worker over a SQLite database


@dataclass
class Report:
    scenario: str
    seed: int
    seconds: float = 0.0
    without: str = ""
    records: int = 0
    injected: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)  # runs by what they failed with
    writes: int = 0
    edits: int = 0
    interrupted: int = 0
    recovery_p50_s: float | None = None
    recovery_p95_s: float | None = None
    recovery_max_s: float | None = None
    resent: int = 0
    slowest_term_s: float | None = None
    panel_p95_ms: int | None = None
    settled_s: float = 0.0

    @property
    def by_invariant(self) -> dict[str, int]:
        return dict(sorted(Counter(re.split(r"[ :]", item)[0] for item in self.violations).items()))

    @property
    def caught(self) -> bool:
        """A run without a safeguard must report violations, another one none."""
        return bool(self.violations) == bool(self.without)


def fault_run(
    scenario: str,
    *,
    seed: int,
    seconds: float,
    plan: Plan,
    kills: int = 0,
    least: int = 0,
    stuck_seconds: float = STUCK_SECONDS,
    heal_seconds: float = HEAL_SECONDS,
    keep_log: Path | None = None,
) -> Report:
    report = Report(scenario, seed, seconds, plan.without, plan.configs * plan.records)
    if scenario == ON_SQLITE:
        scenario = "kill"
    with tempfile.TemporaryDirectory(prefix="syncline-faults-") as name:
        house = House(Path(name), plan)
        try:
            _carry_out(
                house,
                report,
                Driver(house, seed, seconds, kills, least),
                scenario,
                stuck_seconds,
                heal_seconds,
            )
        finally:
            house.close()
            if keep_log is not None and house.log.exists():
                with keep_log.open("ab") as kept:
                    kept.write(house.log.read_bytes())
    return report


def _carry_out(
    house: House, report: Report, driver: Driver, scenario: str, stuck_seconds: float, heal_seconds: float
) -> None:
    if not house.start_all():
        raise TimeoutError("the processes did not start within a minute; see --log")
    people = People(house.ends, report.seed, every=max(0.03, report.seconds / 7500))
    impatient, visitor = Impatient(house, report.seed, every=0.15), Visitor(house, report.seed)
    users = (people, impatient, visitor)
    begun = monotonic()
    for user in users:
        user.start()
    try:
        driver.run(scenario)
    finally:
        for user in users:
            user.stop.set()
        for user in users:
            user.join(70)
    driver.finish(scenario)
    report.seconds = round(monotonic() - begun, 1)
    if people.broken is not None:
        raise people.broken
    slow, settled = _heal(house, report, stuck_seconds, heal_seconds)
    every = check.moves(house)
    report.violations += [*slow, *check.always(house, every), *visitor.wrong]
    if settled:
        report.violations += check.agreement(house)
        report.violations += check.broken_promises(house, impatient.promised | visitor.promised)
    _figures(house, report, driver, every)
    if visitor.took:
        report.panel_p95_ms = round(1000 * (check.share(visitor.took, 0.95) or 0))


def _heal(house: House, report: Report, stuck_seconds: float, heal_seconds: float) -> tuple[list[str], bool]:
    """No more faults and no more slots: what is under way must come to its end without anybody's help.

    What did not go on in time, and whether all came to its end. Only then is there anything to compare.
    """
    for proxy in house.proxies.values():
        proxy.mode = "pass"
    house.restart_the_dead()
    house.ask("UPDATE sync_configs SET next_run_at = NULL, auto = %s", False)
    begun = monotonic()
    stuck: set[str] = set()

    def settled() -> bool:
        house.restart_the_dead()
        if monotonic() - begun > stuck_seconds:
            stuck.update(check.stuck(house, stuck_seconds))
        return _open(house) == 0

    if not house.wait(settled, heal_seconds, 0.25):
        stuck.add(f"I2 stuck: {_open(house)} runs are open {heal_seconds:.0f} s after the last fault")
        return sorted(stuck), False
    report.settled_s = round(monotonic() - begun, 2)
    # What was edited last has no run yet. First as by schedule, twice since a record may have moved between
    # read and write: incremental runs must find every edit. Then full ones, which find deletes too.
    for number in range(5):
        for config_id in house.config_ids:
            ask_for_run(house, config_id, full=number > 1)
        if not house.wait(lambda: _open(house) == 0, heal_seconds, 0.25):
            return [*sorted(stuck), f"I2 stuck: {_open(house)} of the last runs did not end"], False
        if number == 1:
            stuck.update(check.passed_over(house))
        if number > 1 and not check.records(house, settled=True):
            break
    return sorted(stuck), True


def _open(house: House) -> int:
    (number,) = house.ask("SELECT count(*) FROM sync_runs WHERE state IN ('queued', 'running')")[0]
    return int(number)


def _figures(house: House, report: Report, driver: Driver, every: list[check.Move]) -> None:
    times = check.recoveries(every, driver.taken_down)
    report.injected = dict(sorted(driver.injected.items()))
    report.runs = {str(s): n for s, n in house.ask("SELECT state, count(*) FROM sync_runs GROUP BY state")}
    report.failures = {
        str(code): number
        for code, number in house.ask(
            "SELECT error_code, count(*) FROM sync_runs WHERE state = 'failed' GROUP BY error_code"
        )
    }
    with house.ends.connect() as db:
        report.writes = len(house.ends.log(db))
    report.edits = sum(house.ends.edits.values())
    report.interrupted = len(times)
    report.recovery_p50_s = check.share(times, 0.5)
    report.recovery_p95_s = check.share(times, 0.95)
    report.recovery_max_s = check.share(times, 1.0)
    report.resent = check.resent(house)
    report.slowest_term_s = round(max(house.terms), 2) if house.terms else None
    if house.sigkills_needed or any(took >= check.SLOWEST_TERM for took in house.terms):
        report.violations.append(f"F-02 SIGTERM: the slowest exit took {report.slowest_term_s} s")


# -- what is shown ---------------------------------------------------------------------------------

_HEADS = (
    "scenario",
    "seed",
    "seconds",
    "injected",
    "recovery p50/p95/max s",
    "re-sent",
    "settled s",
    "violations",
)


def _row(report: Report) -> tuple[str, ...]:
    injected = ", ".join(f"{number} {what}" for what, number in report.injected.items()) or "-"
    times = (report.recovery_p50_s, report.recovery_p95_s, report.recovery_max_s)
    recovery = " / ".join("-" if item is None else f"{item:.1f}" for item in times)
    found = ", ".join(f"{name} {number}" for name, number in report.by_invariant.items()) or "0"
    name = report.scenario
    if report.without:
        name, found = (
            f"{name} without {report.without}",
            f"{found} ({'caught' if report.caught else 'NOT CAUGHT'})",
        )
    sent = f"{report.resent / max(1, sum(report.injected.values())):.1f} a fault"
    return (
        name,
        str(report.seed),
        f"{report.seconds:.0f}",
        injected,
        recovery,
        sent,
        f"{report.settled_s:.1f}",
        found,
    )


def show(report: Report) -> None:
    print(json.dumps(asdict(report) | {"violations": report.by_invariant}))
    for item in report.violations[: 0 if report.without else 20]:
        print(f"  ! {item}")
    sys.stdout.flush()


def show_table(reports: Sequence[Report]) -> None:
    lines = [_HEADS, *map(_row, reports)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    print()
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    sys.stdout.flush()


# -- the command -----------------------------------------------------------------------------------

_CONTROL = {"fencing": "pause", "ring_again": "flush", "look_up": "kill"}  # the fault that shows the gap
SCENARIOS = ("kill", ON_SQLITE, "term", "flush", "pause", "redis", "postgres", "proxy", "clock", "disk")


def plan_of(scenario: str, chosen: argparse.Namespace) -> Plan:
    return Plan(
        configs=chosen.configs,
        records=chosen.records,
        lease=chosen.lease,
        without=chosen.without,
        proxied=scenario == "proxy",
        clocks=scenario in ("clock", "short"),
        sqlite=chosen.sqlite or scenario == ON_SQLITE,
    )


def control(without: str, *, seed: int, keep_log: Path | None = None) -> Report:
    """A short run that lacks one safeguard: it must report violations, or nothing here proves anything."""
    # Many records and slow commits, so that the fault falls into a write.
    plan = Plan(configs=4, records=300, without=without, commit_seconds=0.01)
    scenario = _CONTROL[without]
    seconds = 4.0 if scenario == "flush" else 12.0
    for turn in itertools.count():
        report = fault_run(
            scenario,
            seed=seed + turn,
            seconds=seconds,
            plan=plan,
            stuck_seconds=8,
            heal_seconds=60,
            keep_log=keep_log,
        )
        if report.violations or turn == 2:  # a fault may have hit nothing: then there is nothing to see
            return report
    raise AssertionError("never")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--scenario", choices=[*SCENARIOS, "all", "short", "controls", "figures", "every"], default="kill"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="of faults, in each scenario (60)")
    parser.add_argument("--kills", type=int, default=0, help="so many faults instead")
    parser.add_argument("--configs", type=int, default=40)
    parser.add_argument("--records", type=int, default=250, help="in each config")
    parser.add_argument("--lease", type=float, default=2.0, help="LEASE_SECONDS; the program's default is 60")
    parser.add_argument("--sqlite", action="store_true", help="our own database is SQLite, with one worker")
    parser.add_argument("--without", choices=list(CONTROLS), default="", help="a negative control")
    parser.add_argument("--stuck-seconds", type=float, default=STUCK_SECONDS)
    parser.add_argument("--log", type=Path, help="where to keep what the processes said")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seconds = chosen.seconds or (chosen.kills * KILL_SECONDS if chosen.kills else 60.0)
    scenarios = list(SCENARIOS) if chosen.scenario == "every" else [chosen.scenario]
    reports: list[Report] = []
    for scenario in scenarios:
        if scenario in ("controls", "figures"):
            continue
        if scenario == "disk":
            report = Report(scenario, chosen.seed, **disk.fault_run())
        else:
            report = fault_run(
                scenario,
                seed=chosen.seed,
                seconds=seconds,
                kills=chosen.kills,
                plan=plan_of(scenario, chosen),
                stuck_seconds=chosen.stuck_seconds,
                keep_log=chosen.log,
            )
        reports.append(report)
        show(report)
    if chosen.scenario in ("every", "controls"):
        for without in CONTROLS:
            reports.append(control(without, seed=chosen.seed, keep_log=chosen.log))
            show(reports[-1])
    met = True
    if chosen.scenario in ("every", "figures"):
        met = figures.show(figures.measure(chosen.seed, keep_log=chosen.log))
    if reports:
        show_table(reports)
    return int(not met or not all(report.caught for report in reports))


if __name__ == "__main__":
    sys.exit(main())

"""Take each law out of the code, one at a time, and see a test turn red: `python -m tests.laws.run`.

Each cut is made in a process of its own, which then runs the tests that should notice. One table line per
cut; the exit code is 1 when a test that should be red stays green, is red for another reason than the law,
or is red while nothing was taken out.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, process_time
from typing import Any

import pytest

from tests.laws.cuts import CUTS, LAWS, NOTHING, Cut
from tests.laws.knife import NothingToCut

# Not what a broken law looks like, but a bad cut.
WRONG_REASONS = (
    "AttributeError",
    "ImportError",
    "NameError",
    "SyntaxError",
    "TypeError",
    "UnboundLocalError",
)
ALL: tuple[Cut, ...] = (*CUTS, NOTHING)
IGNORED = "ignore::pytest.PytestAssertRewriteWarning"  # libraries that were imported before the tests
FIRST = [cut for index, cut in enumerate(CUTS) if cut.law not in {other.law for other in CUTS[:index]}]
HEAVY = ("flask", "sqlalchemy.orm", "tasks.execute", "tasks.shift", "cli", "web")


@dataclass(frozen=True)
class Verdict:
    """What became of the tests after a cut."""

    red: str = ""  # the test that failed first
    why: str = ""
    ran: int = 0
    broken: str = ""  # why this says nothing

    @property
    def holds(self) -> bool:
        return bool(self.red) and not self.broken


class _Watch:
    """A pytest plugin that keeps what failed."""

    def __init__(self) -> None:
        self.ran = 0
        self.red = self.why = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.ran += report.when == "call"
        if report.failed and not self.red:
            self.red = report.nodeid
            crash = getattr(report.longrepr, "reprcrash", None)
            self.why = crash.message.splitlines()[0] if crash is not None else str(report.longrepr)[-200:]


def judge(number: int) -> Verdict:
    """Make a cut in this process, which is good for nothing else afterwards, and run its tests."""
    cut = ALL[number]
    with tempfile.TemporaryFile("w+") as said:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
        try:
            cut.make()
        except NothingToCut as problem:
            return Verdict(broken=str(problem))
        watch = _Watch()
        first = ["-x"] if cut is not NOTHING else []
        code = pytest.main(
            ["-q", "-n0", "--system", "memory", "-p", "no:cacheprovider", "-W", IGNORED, *first, *cut.tests],
            plugins=[watch],
        )
        said.seek(0)
        told = said.read()
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return Verdict(broken=f"pytest ended with {code!r}: {told[-300:]}")
    if watch.why.split(":")[0].rpartition(".")[2] in WRONG_REASONS:
        return Verdict(watch.red, watch.why, watch.ran, broken=f"red for another reason: {watch.why}")
    return Verdict(watch.red, watch.why, watch.ran)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.laws.run", description=__doc__)
    parser.add_argument("--only", default="", help="cuts whose words contain this")
    parser.add_argument("--law", type=int, nargs="*", default=[], help="cuts of these laws")
    parser.add_argument("--first", action="store_true", help="only the first cut of each law")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    chosen = [
        number
        for number, cut in enumerate(ALL)
        if asked.only in cut.what and (not asked.law or cut.law in asked.law)
        if not asked.first or cut in FIRST
    ]
    for name in HEAVY:
        importlib.import_module(name)
    began = monotonic()
    wrong: list[str] = []
    print(f"{'law':>3}  {'taken out':<62}  the test that turned red", flush=True)
    with multiprocessing.get_context("fork").Pool(asked.jobs, maxtasksperchild=1) as pool:
        for number, verdict in zip(chosen, pool.imap(judge, chosen), strict=True):
            cut = ALL[number]
            is_right = verdict.holds if cut is not NOTHING else not verdict.red and not verdict.broken
            said = verdict.broken or _short(verdict.red) or f"none of {verdict.ran}"
            print(
                f"{cut.law or '':>3}  {cut.what:<62}  {said}{'' if is_right else '   <-- WRONG'}", flush=True
            )
            if not is_right:
                wrong.append(f"{cut.what}: {said} {verdict.why}")
    if not asked.only and not asked.law:
        wrong += [f"law {number}, {LAWS[number]}: nothing takes it out" for number in _without_a_cut()]
    taken = sum(ALL[number] is not NOTHING for number in chosen)
    cpu = process_time() + sum(os.times()[2:4])
    print(f"{taken} cuts made, {len(wrong)} wrong; {monotonic() - began:.0f} s, {cpu:.0f} s of CPU")
    for line in wrong:
        print(f"WRONG  {line}")
    return 1 if wrong or not chosen else 0


def _without_a_cut() -> list[int]:
    return sorted(LAWS.keys() - {cut.law for cut in CUTS})


def _short(node: str) -> str:
    return node.removeprefix("tests/")


if __name__ == "__main__":
    sys.exit(main())

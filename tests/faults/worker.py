"""Processes that lack one safeguard: what the fault run must report, or it proves nothing.

`dramatiq tests.faults.worker:without_fencing` and its like are workers; `python -m tests.faults.worker NAME`
is a scheduler without the same safeguard.
"""

from __future__ import annotations

import sys
from typing import Any

from connectors.base import Outcome
from models.journal import Change
from models.sync_runs import RunState, SyncRun
from tasks import apply, claims, execute, scheduler, upkeep
from tasks.claims import Claim
from tasks.main import setup


def _fencing_off() -> None:
    """Whoever once held a run goes on with it, whatever its token is now."""

    def held_by(claim: Claim) -> tuple[Any, ...]:
        return (SyncRun.id == claim.run_id, SyncRun.state == RunState.RUNNING)

    claims.held_by = held_by


def _ring_again_off() -> None:
    """A ring that was lost stays lost."""

    def to_ring(*_args: Any, **_options: Any) -> list[str]:
        return []

    upkeep._to_ring = to_ring


def _look_up_off() -> None:
    """A write whose answer was lost is taken for one that did not happen."""

    def look_up_change(_work: Any, _db: Any, change: Change, _reason: str) -> Outcome:
        return apply._not_done(change)

    for module in (apply, execute):
        setattr(module, "look_up_change", look_up_change)  # noqa: B010 both names, whoever imported it


CONTROLS = {"fencing": _fencing_off, "ring_again": _ring_again_off, "look_up": _look_up_off}


def without_fencing() -> None:
    _fencing_off()
    setup()


def without_ring_again() -> None:
    _ring_again_off()
    setup()


def without_look_up() -> None:
    _look_up_off()
    setup()


if __name__ == "__main__":
    CONTROLS[sys.argv[1]]()
    sys.exit(scheduler.main())

"""What a unit of work refuses, as a sentence for the person who asked.

    WorkError
    ├── NotFound           no such config, run, change ...
    ├── RunActive          the config has a run already: `run_id` says which
    ├── WrongState         the thing is not in a state in which this can be done
    └── DefinitionError    a definition or YAML is wrong: file, line, field, remedy

Signals end the work of a run from inside; they are never shown as failures:

    Signal
    ├── Stopping           this process was asked to stop: give the run back
    ├── CancelRequested    a person asked to cancel the run
    └── LeaseLost          somebody else has the run now: write nothing more
"""

from __future__ import annotations


class WorkError(Exception):
    code = "refused"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code


class NotFound(WorkError):
    code = "not_found"


class RunActive(WorkError):
    code = "run_active"

    def __init__(self, message: str, *, run_id: str, state: str) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.state = state  # queued or running


class WrongState(WorkError):
    code = "wrong_state"


class DefinitionError(WorkError):
    """`place` is the path in the definition, such as `fields.2.left`."""

    code = "definition"

    def __init__(self, message: str, *, place: str = "") -> None:
        super().__init__(message)
        self.place = place


class Signal(Exception):
    """Ends the work of a run at a checkpoint."""


class Stopping(Signal):
    pass


class CancelRequested(Signal):
    pass


class LeaseLost(Signal):
    pass

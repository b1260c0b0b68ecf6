"""The outside, played: local servers that behave as the real systems are documented to.

One file is one system, named by its connector. They keep their state in memory, share no code with the
connectors, and are imported by the `syncline simulate` command and by tests alone.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.base import Simulator

_DEFINES_ONE = re.compile(r"^class \w+\(Simulator\):", re.MULTILINE)


def names() -> list[str]:
    """The systems that can be simulated, as the command names them."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(
        file.stem.replace("_", "-") for file in files if _DEFINES_ONE.search(file.read_text(encoding="utf-8"))
    )


def get(name: str) -> type[Simulator]:
    """The simulator of this name. Raises KeyError."""
    from simulators.base import Simulator

    if name not in names():
        raise KeyError(name)
    module = importlib.import_module(f"simulators.{name.replace('-', '_')}")
    for member in vars(module).values():
        if isinstance(member, type) and issubclass(member, Simulator) and member is not Simulator:
            return member
    raise TypeError(f"simulators/{name}.py defines no Simulator")

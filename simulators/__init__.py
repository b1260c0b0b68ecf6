"""The outside, played: local servers that behave as the real systems are documented to.

One file is one system, named by its connector. They keep their state in memory, share no code with the
connectors, and are imported by the `syncline simulate` command and by tests alone.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.base import Simulator

_KIT = ("base",)


def names() -> list[str]:
    """The systems that can be simulated, as the command names them."""
    found = (module.name for module in pkgutil.iter_modules(__path__) if "_" not in module.name[:1])
    return sorted(name.replace("_", "-") for name in found if name not in _KIT)


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

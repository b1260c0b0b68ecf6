"""How a law is taken out of the running code: a name gets another value, a line of a function another text.

Nothing in the product knows of it. What is to be cut must still be there: a cut that finds nothing fails.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from types import ModuleType
from typing import Any

ROOMS = ("connectors", "models", "sync", "tasks", "web", "tests", "settings", "cli")


class NothingToCut(Exception):
    """The code has changed, and this cut no longer takes anything out."""


def put(owner: Any, name: str, new: Any) -> None:
    """Give a module's or class's name another value, also where it was imported by that name."""
    if not hasattr(owner, name):
        raise NothingToCut(f"{_called(owner)} has no {name} any more")
    old = inspect.getattr_static(owner, name)
    setattr(owner, name, new)
    if not isinstance(owner, ModuleType):
        return
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").split(".")[0] in ROOMS:
            for their_name, value in list(vars(module).items()):
                if value is old:
                    setattr(module, their_name, new)


def rewrite(owner: Any, name: str, old: str, new: str) -> None:
    """Compile a function again with one piece of its text replaced."""
    found = inspect.getattr_static(owner, name, None)
    function = found.fget if isinstance(found, property) else inspect.unwrap(found) if found else None
    if function is None:
        raise NothingToCut(f"{_called(owner)} has no {name} any more")
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(old) != 1:
        raise NothingToCut(f"{_called(owner)}.{name} holds {old!r} {source.count(old)} times, not once")
    code = compile(
        source.replace(old, new),
        f"<{name} without a law>",
        "exec",
        flags=__future__.annotations.compiler_flag,
        dont_inherit=True,
    )
    made: dict[str, Any] = {}
    exec(code, vars(sys.modules[function.__module__]), made)
    put(owner, name, made[function.__name__])


def _called(owner: Any) -> str:
    return owner.__name__ if isinstance(owner, ModuleType) else owner.__qualname__

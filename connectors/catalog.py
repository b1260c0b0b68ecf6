"""Which connectors there are: the modules of this folder that define one, and third parties' entry points.

A built-in connector `acme` is the class with `name = "acme"` in `connectors/acme.py`; a third party's
is an entry point `acme = package.module:Acme` of the group `syncline.connectors`. Nothing is imported
before it is asked for by name, so a connector whose libraries are not installed disturbs no other.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from connectors.base import Connector
from connectors.errors import OptionsError

ENTRY_POINTS = "syncline.connectors"

# Read, not imported: a connector says `class Acme(Connector)`, or derives from one that does.
_DEFINES_ONE = re.compile(r"^class \w+\((\w+\.)?\w*Connector\b", re.MULTILINE)

# Modules of the kit that define a base class for connectors and are none.
KIT = frozenset({"http"})


class UnknownConnector(OptionsError, KeyError):
    """No connector has this name. A KeyError too, so that a lookup reads like one."""

    code = "unknown_connector"

    def __str__(self) -> str:
        return self.message


def names() -> list[str]:
    """The names of all connectors, sorted. Imports none of them."""
    return sorted({*_own_modules(), *_entry_points()})


def get(name: str) -> type[Connector]:
    """The connector of this name.

    Raises UnknownConnector with the nearest right word, OptionsError when its code cannot be loaded.
    """
    if name in _own_modules():
        return _own(name)
    # Our own come first: a package that is installed beside us cannot take the place of `sql`.
    if entry_point := _entry_points().get(name):
        return _loaded(entry_point)
    known = names()
    near = get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UnknownConnector(f"There is no connector '{name}'.{hint} The connectors are: {', '.join(known)}.")


@cache
def _own_modules() -> frozenset[str]:
    folder = Path(__file__).parent
    return frozenset(
        module.name
        for module in pkgutil.iter_modules([str(folder)])
        if module.name not in KIT and _DEFINES_ONE.search(_source(folder, module))
    )


def _source(folder: Path, module: pkgutil.ModuleInfo) -> str:
    path = folder / module.name / "__init__.py" if module.ispkg else folder / f"{module.name}.py"
    return path.read_text(encoding="utf-8")


def _own(name: str) -> type[Connector]:
    try:
        module = importlib.import_module(f"connectors.{name}")
    except ImportError as error:
        raise OptionsError(
            f"The connector '{name}' cannot be loaded, because '{error.name}' is not installed."
        ) from error
    for member in vars(module).values():
        if _is_connector(member) and member.name == name:
            found: type[Connector] = member
            return found
    raise TypeError(f"connectors/{name}.py defines no Connector with name = {name!r}")


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _loaded(point: importlib.metadata.EntryPoint) -> type[Connector]:
    try:
        member = point.load()
    except (ImportError, AttributeError) as error:
        raise OptionsError(
            f"The connector '{point.name}' cannot be loaded from '{point.value}': {error}."
            " Reinstall the package that brings it."
        ) from error
    if not _is_connector(member):
        raise OptionsError(
            f"The entry point '{point.name}' of the group '{ENTRY_POINTS}' ({point.value}) is not a"
            " connector class. Reinstall the package that brings it."
        )
    found: type[Connector] = member
    return found


def _is_connector(member: object) -> bool:
    return (
        inspect.isclass(member)
        and issubclass(member, Connector)
        and not inspect.isabstract(member)
        and hasattr(member, "name")
    )

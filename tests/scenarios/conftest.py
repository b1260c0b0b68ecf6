from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import structlog

from tests.scenarios import not_there
from tests.scenarios.local import in_files, in_tables
from tests.scenarios.remote import NotThere, in_simulators
from tests.scenarios.world import Making, Story, in_memory

ORIENTATIONS = ("told", "mirrored")
SYSTEMS: dict[str, Making] = {
    "memory": in_memory,
    "csv": in_files,
    "sql": in_tables,
    "simulators": in_simulators,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every story is told on each of the systems that `--system` names."""
    if "system" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--system").split(",")
        metafunc.parametrize("system", chosen, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The stories that ask for more than a system offers must be seen to fail there."""
    for item in items:
        if not isinstance(item, pytest.Function) or "system" not in item.fixturenames:
            continue
        system = str(item.callspec.params["system"])
        parts = item.callspec.id.split("-")
        orientation = next(part for part in parts if part in ORIENTATIONS)
        parts.remove(orientation)
        parts.remove(system)
        if (found := not_there.reason(system, item.originalname, "-".join(parts), orientation)) is not None:
            why, asks_for_more = found
            raises = NotThere if asks_for_more else Exception
            item.add_marker(pytest.mark.xfail(strict=True, reason=why, raises=raises))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    try:
        return (yield)
    except NotThere as missing:
        if pyfuncitem.get_closest_marker("xfail") is not None:
            raise
        pytest.skip(f"not played here: {missing}")


@pytest.fixture(autouse=True)
def hush() -> Iterator[None]:
    """Stories log as runs do; nobody reads it."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture(params=[False, True], ids=ORIENTATIONS)
def swapped(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def system(request: pytest.FixtureRequest) -> Making:
    """What holds the records of a story."""
    return SYSTEMS[request.param]


@pytest.fixture
def tell(swapped: bool, system: Making) -> Callable[..., Story]:
    """A new story, in both orientations."""

    def made(**values: Any) -> Story:
        return Story(system=system, swapped=swapped, **values)

    return made


@pytest.fixture
def story(swapped: bool, system: Making) -> Story:
    """A story of records with the text fields k (the key), x, y and z."""
    return Story(system=system, swapped=swapped)

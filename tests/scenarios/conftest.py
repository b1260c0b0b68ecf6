from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tests.scenarios.world import Making, Story, in_memory


@pytest.fixture(autouse=True)
def hush() -> Iterator[None]:
    """Stories log as runs do; nobody reads it."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture(params=[False, True], ids=["told", "mirrored"])
def swapped(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def system() -> Making:
    """What holds the records of a story."""
    return in_memory


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

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from tasks import filling


@pytest.fixture(autouse=True, scope="package")
def silence() -> Iterator[None]:
    """Thousands of runs: their log lines would bury what failed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def first_loads_in_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other shard fills empty sides in parts of two records, which are too few for that otherwise."""
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("shard", 0) % 2:
        monkeypatch.setattr(filling, "FEWEST", 1)
        monkeypatch.setattr(filling, "PART", 2)

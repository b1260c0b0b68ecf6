from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tasks.world import World


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """On SQLite and on PostgreSQL."""
    world = World(database_url, tmp_path)
    yield world
    world.close()


@pytest.fixture
def small_world(tmp_path: Path) -> Iterator[World]:
    """On SQLite only: for what has nothing to do with the database."""
    world = World(f"sqlite:///{tmp_path / 'syncline.db'}", tmp_path)
    yield world
    world.close()

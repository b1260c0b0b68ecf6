"""What the connectors' tests may ask for beside a database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connectors.parse_server import NodeMissing, ParseServer, install, running
from tests.services import PostgresMissing, Services, fresh_database


@pytest.fixture(scope="session")
def parse_store() -> Iterator[str]:
    """A PostgreSQL server for Parse Servers, which are installed. Asked for by `make test-parse`."""
    if not os.environ.get("SYNCLINE_TEST_PARSE"):
        pytest.skip("needs a real Parse Server: `make test-parse`")
    services = Services()
    try:
        install()
        yield services.postgres_url()
    except (NodeMissing, PostgresMissing) as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must not leave out the Parse Server: {missing}", pytrace=False)
        pytest.skip(str(missing))
    finally:
        services.close()


@pytest.fixture(scope="session")
def parse_server(
    parse_store: str, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ParseServer]:
    """A real Parse Server that many tests share."""
    with (
        fresh_database(parse_store, f"syncline_parse_{os.getpid()}_{worker_number}") as url,
        running(url, tmp_path_factory.mktemp("parse")) as server,
    ):
        yield server


@pytest.fixture
def own_parse_server(parse_store: str, worker_number: int, tmp_path: Path) -> Iterator[ParseServer]:
    """A real Parse Server of one test's own, to be killed and started again."""
    folder = tmp_path / "parse"
    folder.mkdir()
    with (
        fresh_database(parse_store, f"syncline_parse_own_{os.getpid()}_{worker_number}") as url,
        running(url, folder) as server,
    ):
        yield server

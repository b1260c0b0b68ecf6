"""What the connectors' tests may ask for beside a database."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.connectors.parse_server import NodeMissing, ParseServer, install, running
from tests.services import PostgresMissing, Services, fresh_database


@pytest.fixture(scope="session")
def parse_server(worker_number: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParseServer]:
    """A real Parse Server. It is asked for by `make test-parse`, since it comes from npm."""
    if not os.environ.get("SYNCLINE_TEST_PARSE"):
        pytest.skip("needs a real Parse Server: `make test-parse`")
    services = Services()
    try:
        install()
        database = services.postgres_url()
    except (NodeMissing, PostgresMissing) as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must not leave out the Parse Server: {missing}", pytrace=False)
        pytest.skip(str(missing))
    name = f"syncline_parse_{os.getpid()}_{worker_number}"
    with (
        fresh_database(database, name) as url,
        running(url, tmp_path_factory.mktemp("parse"), allowCustomObjectId=False) as server,
    ):
        yield server
    services.close()

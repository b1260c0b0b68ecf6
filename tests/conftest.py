"""What every test may ask for: a Redis, a PostgreSQL or MariaDB database, either kind of own database."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import redis
import structlog
from structlog._config import BoundLoggerLazyProxy

from tests.house import House, build
from tests.scenarios.ids import CASES, covered
from tests.services import (
    MariaMissing,
    PostgresMissing,
    Services,
    fresh_database,
    fresh_maria_database,
)

_services = pytest.StashKey[Services]()
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--system",
        default="memory,csv,sql",
        help="what holds the records of the engine's scenarios; simulators: Airtable and Google Sheets",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the services where the tests are handed out; alone, they start when first asked for."""
    services = config.stash[_services] = Services()
    config.add_cleanup(services.close)
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` too leaves nothing behind
    if getattr(config.option, "numprocesses", None) and not config.option.collectonly:
        services.redis_url()
        with contextlib.suppress(PostgresMissing):  # the tests that need it say so
            services.postgres_url()
        with contextlib.suppress(MariaMissing):
            services.mariadb_url()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """One line at the end for each reason to skip, not one for each test that was skipped for it."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        report.longrepr = (str(Path(__file__).parent), None, report.longrepr[2])  # type: ignore[assignment]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many cases of the engine's specification were held by the tests of this session."""
    held = covered(report.nodeid for report in terminalreporter.stats.get("passed", ()))
    held -= covered(report.nodeid for report in terminalreporter.stats.get("failed", ()))
    if held:
        terminalreporter.write_line(f"scenario cases held: {len(held)} of {len(CASES)}")


@pytest.fixture(scope="session")
def worker_number() -> int:
    """This process among those that run tests: 0 without xdist, else 1 and up."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "")
    return int(name.removeprefix("gw")) + 1 if name else 0


@pytest.fixture
def redis_url(request: pytest.FixtureRequest, worker_number: int) -> Iterator[str]:
    """A real Redis, empty, with a database that no other process uses."""
    server = request.config.stash[_services].redis_url()
    url = f"{server.rpartition('/')[0]}/{worker_number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture(scope="session")
def pg_server(pytestconfig: pytest.Config) -> str:
    """The address of a PostgreSQL database from which others may be created."""
    try:
        return pytestconfig.stash[_services].postgres_url()
    except PostgresMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must not leave out half of the tests: {missing}", pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture
def pg_url(pg_server: str, worker_number: int) -> Iterator[str]:
    """A new and empty PostgreSQL database, in the form that SQLAlchemy takes."""
    name = f"syncline_test_{os.getpid()}_{worker_number}_{next(_numbers)}"
    with fresh_database(pg_server, name) as url:
        yield url


@pytest.fixture(scope="session")
def maria_server(pytestconfig: pytest.Config) -> str:
    """The address of a MariaDB in which databases may be created."""
    try:
        return pytestconfig.stash[_services].mariadb_url()
    except MariaMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must not leave out MariaDB: {missing}", pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture
def maria_url(maria_server: str, worker_number: int) -> Iterator[str]:
    """A new and empty MariaDB database."""
    name = f"syncline_test_{os.getpid()}_{worker_number}_{next(_numbers)}"
    with fresh_maria_database(maria_server, name) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of database that Syncline can keep its own state in; new and empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'syncline.db'}"
    return str(request.getfixturevalue("pg_url"))


@pytest.fixture(scope="session")
def house_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new installation, to be copied."""
    folder = tmp_path_factory.mktemp("house")
    build(folder)
    return folder


@pytest.fixture
def house(tmp_path: Path, house_template: Path) -> Iterator[House]:
    """An installation in a folder of its own, driven by commands in this process."""
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    on_term = signal.getsignal(signal.SIGTERM)
    house = House(tmp_path, house_template)
    yield house
    house.close()
    signal.signal(signal.SIGTERM, on_term)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises
    logging.captureWarnings(False)
    structlog.reset_defaults()
    for module in list(sys.modules.values()):  # a logger that was used keeps what was set up for it
        logger = vars(module).get("log")
        if isinstance(logger, BoundLoggerLazyProxy):
            vars(logger).pop("bind", None)

"""A Redis, a PostgreSQL and a MariaDB of the tests' own, on free loopback ports.

What already runs is left alone.

The process that was asked to run the tests starts them once. With xdist that is the controller, and its
workers are told by environment variables where to look.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pymysql
from psycopg import sql

from tasks import redis_server

REDIS = "SYNCLINE_TEST_REDIS_URL"
POSTGRESQL = "SYNCLINE_TEST_PG_URL"
MARIADB = "SYNCLINE_TEST_MARIADB_URL"
REDIS_DATABASES = 256
START_SECONDS = 60


class PostgresMissing(Exception):
    """There is no PostgreSQL to test with: no PG_URL, and no binaries on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "no PostgreSQL: set PG_URL or install its server (initdb and postgres, on the PATH or under"
            " /usr/lib/postgresql) to run this half of the tests too"
        )


class MariaMissing(Exception):
    """There is no MariaDB to test with: no MARIADB_URL, and no binaries on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "no MariaDB: set MARIADB_URL or install its server (mariadbd and mariadb-install-db, on the PATH"
            " or in /usr/sbin) to run its tests too"
        )


class Services:
    """Starts each service when it is first asked for, and ends them all in close()."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def redis_url(self) -> str:
        if REDIS not in os.environ:
            os.environ[REDIS] = self._stack.enter_context(running_redis())
        return os.environ[REDIS]

    def postgres_url(self) -> str:
        """The address of a database from which others may be created. Raises PostgresMissing."""
        if POSTGRESQL not in os.environ:
            given = os.environ.get("PG_URL", "").replace("+psycopg", "")
            os.environ[POSTGRESQL] = given or self._stack.enter_context(running_postgres())
        return os.environ[POSTGRESQL]

    def mariadb_url(self) -> str:
        """The address of a MariaDB in which databases may be created. Raises MariaMissing."""
        if MARIADB not in os.environ:
            given = os.environ.get("MARIADB_URL", "")
            os.environ[MARIADB] = given or self._stack.enter_context(running_mariadb())
        return os.environ[MARIADB]

    def close(self) -> None:
        self._stack.close()


# -- Redis -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def running_redis() -> Iterator[str]:
    """A Redis server for as long as the block lasts; its URL."""
    with _folder() as folder:
        port = redis_server.free_port()
        server = redis_server.executable()
        local = redis_server.prepare(folder, port, server=server, databases=REDIS_DATABASES)
        with _running(["sh", "-c", local.command], folder, signal.SIGTERM) as process:
            _wait(lambda: redis_server.answers(local.url), process, folder)
            yield local.url


# -- PostgreSQL ------------------------------------------------------------------------------------


@contextlib.contextmanager
def running_postgres(**settings: str) -> Iterator[str]:
    """A PostgreSQL cluster for as long as the block lasts; the URL of its superuser's database. `settings`
    are the server's, where ours do not suit.

    Raises PostgresMissing.
    """
    binaries = _postgres_binaries()
    account = _unprivileged()
    with _folder(account) as folder:
        port = redis_server.free_port()
        password = folder / "password"
        password.write_text("only-for-tests", encoding="ascii")
        user, group = account or (None, None)
        subprocess.run(
            [
                binaries / "initdb",
                f"--pgdata={folder / 'data'}",
                f"--pwfile={password}",
                "--username=syncline",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            user=user,
            group=group,
            extra_groups=[] if account else None,
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 200,
            "shared_buffers": "32MB",
            "autovacuum": "off",
            **settings,
        }
        command = [str(binaries / "postgres"), "-D", str(folder / "data")]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        url = f"postgresql://syncline:only-for-tests@127.0.0.1:{port}/postgres"
        with _running(command, folder, signal.SIGINT, account) as process:  # SIGINT: stop without waiting
            _wait(lambda: _accepts(url), process, folder)
            yield url


class PgbouncerMissing(Exception):
    """There is no pooler to test with."""

    def __init__(self) -> None:
        super().__init__("no PgBouncer: install it (Debian: pgbouncer) to test what a pooler breaks")


@contextlib.contextmanager
def running_pgbouncer(server_url: str) -> Iterator[str]:
    """A PgBouncer in transaction mode before this server, with two connections to each database; the URL of
    the same database through it. Raises PgbouncerMissing.
    """
    binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        raise PgbouncerMissing
    server = urlsplit(server_url)
    account = _unprivileged()
    with _folder(account) as folder:
        port = redis_server.free_port()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": 2,
            "server_round_robin": 1,  # the next transaction is another server process's
        }
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={server.port} user={server.username} password={server.password}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        file = folder / "pgbouncer.ini"
        file.write_text("\n".join(lines), encoding="utf-8")
        url = f"postgresql://{server.username}@127.0.0.1:{port}{server.path}"
        with _running([binary, str(file)], folder, signal.SIGTERM, account) as process:
            _wait(lambda: _accepts(url), process, folder)
            yield url


@contextlib.contextmanager
def fresh_database(maintenance_url: str, name: str, template: str = "template0") -> Iterator[str]:
    """A database of this name for as long as the block lasts; its URL."""
    with psycopg.connect(maintenance_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8'").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    try:
        yield psycopg_url(maintenance_url, name)
    finally:
        with psycopg.connect(maintenance_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def psycopg_url(url: str, database: str) -> str:
    """The same server, another database, in the form that SQLAlchemy takes."""
    rest = url.partition("://")[2]
    server, _, path = rest.partition("/")
    query = path.partition("?")[2]
    return f"postgresql+psycopg://{server}/{database}" + (f"?{query}" if query else "")


def _accepts(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _postgres_binaries() -> Path:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True
    )
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresMissing


def _unprivileged() -> tuple[int, int] | None:
    """The account under which to run a server that refuses root. None: our own will do."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            return account.pw_uid, account.pw_gid
    return 65534, 65534


# -- MariaDB ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def running_mariadb() -> Iterator[str]:
    """A MariaDB server for as long as the block lasts; the URL of its administrator. Raises MariaMissing."""
    install, server = _mariadb_binaries()
    account = _unprivileged()
    with _folder(account) as folder:
        port = redis_server.free_port()
        user, group = account or (None, None)
        subprocess.run(
            [
                install,
                "--no-defaults",
                f"--datadir={folder / 'data'}",
                f"--tmpdir={folder}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            user=user,
            group=group,
            extra_groups=[] if account else None,
        )
        start = folder / "start.sql"
        start.write_text(
            "ALTER USER root@localhost IDENTIFIED BY 'only-for-tests';\n"
            "CREATE OR REPLACE USER syncline@'127.0.0.1' IDENTIFIED BY 'only-for-tests';\n"
            "GRANT ALL ON *.* TO syncline@'127.0.0.1' WITH GRANT OPTION;\n",
            encoding="ascii",
        )
        command = [
            str(server),
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
            f"--tmpdir={folder}",
            f"--init-file={start}",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M",
            "--max-connections=200",
        ]
        url = f"mariadb://syncline:only-for-tests@127.0.0.1:{port}/mysql"
        with _running(command, folder, signal.SIGTERM, account) as process:
            _wait(lambda: _maria_accepts(url), process, folder)
            yield url


def maria(url: str) -> pymysql.Connection:
    """A connection of a person's own, on which each statement is done at once."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        database=parts.path.removeprefix("/"),
        autocommit=True,
    )


@contextlib.contextmanager
def fresh_maria_database(server_url: str, name: str) -> Iterator[str]:
    """A MariaDB database of this name for as long as the block lasts; its URL."""
    with contextlib.closing(maria(server_url)) as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    try:
        yield f"{server_url.rpartition('/')[0]}/{name}"
    finally:
        with contextlib.closing(maria(server_url)) as admin, admin.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")


def _maria_accepts(url: str) -> bool:
    try:
        maria(url).close()
    except pymysql.OperationalError:
        return False
    return True


def _mariadb_binaries() -> tuple[Path, Path]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    install, server = shutil.which("mariadb-install-db", path=path), shutil.which("mariadbd", path=path)
    if install is None or server is None:
        raise MariaMissing
    return Path(install), Path(server)


# -- all -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _folder(account: tuple[int, int] | None = None) -> Iterator[Path]:
    """A folder outside everyone's home, since another account may have to reach it."""
    folder = Path(tempfile.mkdtemp(prefix="syncline-tests-", dir="/tmp" if account else None))
    try:
        if account:
            os.chown(folder, *account)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(
    command: list[str], folder: Path, stop: signal.Signals, account: tuple[int, int] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server for as long as the block lasts. Ctrl-C does not reach it, and a killed parent ends it."""

    def die_with_parent() -> None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(stop), 0, 0, 0)

    user, group = account or (None, None)
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
            user=user,
            group=group,
            extra_groups=[] if account else None,
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{process.args!r} did not start:\n{(folder / 'log').read_text()}")
        time.sleep(0.05)

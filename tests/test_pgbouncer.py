"""Behind a PgBouncer in transaction mode each transaction may reach another server process: all works."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator

import psycopg
import pytest

from tests.house import House
from tests.services import PgbouncerMissing, running_pgbouncer

SYNC = """
connections:
  left:  {{connector: sql, options: {{url: "{url}"}}}}
  right: {{connector: sql, options: {{url: "{url}"}}}}
syncs:
  people:
    left:  {{connection: left, stream: people}}
    right: {{connection: right, stream: copies}}
    match: [id]
    conflict: left_wins
"""


@pytest.fixture
def pooled(pg_url: str) -> Iterator[str]:
    """An empty database, reached through the pooler."""
    try:
        with running_pgbouncer(pg_url.replace("+psycopg", "")) as url:
            yield url
    except PgbouncerMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


def test_a_two_way_sync_with_its_state_works_through_a_pooler(house: House, pooled: str) -> None:
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as db:
        for table in ("people", "copies"):
            db.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, name text, born date)")
        db.execute("INSERT INTO people SELECT n, 'Name ' || n, '2000-01-01' FROM generate_series(1, 700) n")
    house.env.update(
        DATABASE_URL=pooled.replace("://", "+psycopg://"),
        SECRET_KEY=secrets.token_urlsafe(48),
        ENCRYPTION_KEYS="k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        ALLOWED_NETWORKS="127.0.0.0/8",
    )
    assert house.run("release").code == 0
    house.apply(SYNC.format(url=pooled))
    assert house.json("sync", "people")["right"]["created"] == 700
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as db:
        db.execute("UPDATE people SET name = name || '!' WHERE id % 10 = 0")
        db.execute("UPDATE copies SET name = name || '?' WHERE id % 10 = 5")
        db.execute("INSERT INTO copies VALUES (100000, 'new', NULL)")
    second = house.json("sync", "people")
    assert (second["status"], second["right"]["updated"], second["left"]["updated"]) == ("success", 70, 70)
    assert second["left"]["created"] == 1
    third = house.json("sync", "people")
    assert (third["left"]["updated"], third["right"]["updated"], third["unchanged"]) == (0, 0, 701)
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as db:
        both = db.execute("SELECT count(*) FROM people JOIN copies USING (id, name)").fetchone()
        assert both == (701,)

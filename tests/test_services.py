"""The services that tests stand on are real, private and empty."""

from __future__ import annotations

import os

import psycopg
import pytest
import redis
import sqlalchemy as sa

from tests.services import fresh_database


def test_redis_answers_and_is_empty(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_redis_is_empty_again_for_the_next_test(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_redis_asks_for_its_password(redis_url: str) -> None:
    address = redis_url.rpartition("@")[2]
    with redis.Redis.from_url(f"redis://{address}") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_own_database(database_url: str, turn: int) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as db:
        db.execute(sa.text("CREATE TABLE mine (id INTEGER)"))
        assert db.execute(sa.text("SELECT count(*) FROM mine")).scalar_one() == 0, turn
    engine.dispose()


def test_a_database_is_dropped_even_while_someone_is_connected(pg_url: str) -> None:
    server = pg_url.replace("+psycopg", "")
    with fresh_database(server, f"syncline_test_{os.getpid()}_guest") as url:
        guest = psycopg.connect(url.replace("+psycopg", ""))

    with pytest.raises(psycopg.OperationalError):
        guest.execute("SELECT 1")
    guest.close()

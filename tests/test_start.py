"""Any number of processes start at once, and none on an old schema or under the wrong keys."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from models.connections import KeyCheck
from models.migrate import NotMigrated
from models.people import Membership, User, Workspace
from models.secrets import SecretUnreadable
from settings import Settings, new_data_key
from tasks import start
from tasks.context import Context, live

SECRET_KEY = "k3Y-of-a-test_9f8e7d6c5b4a3210-ZyX"

Make = Callable[..., Context]


@pytest.fixture
def make(database_url: str, tmp_path: Path) -> Iterator[Make]:
    """Contexts over one database and one set of keys, as every process builds its own."""
    keys, made = new_data_key("one"), list[Context]()

    def one(ring: str = keys) -> Context:
        env = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY, "ENCRYPTION_KEYS": ring}
        settings = Settings.from_env(env | {"ADMIN_EMAILS": "ann@example.com"}, folder=tmp_path)
        made.append(live(settings))
        return made[-1]

    yield one
    for ctx in made:
        start.engine_of(ctx).dispose()


def test_releases_at_the_same_moment_make_everything_once(make: Make) -> None:
    with ThreadPoolExecutor(4) as pool:
        said = [line for lines in pool.map(start.release, [make() for _ in range(4)]) for line in lines]
    assert sorted(said) == [
        "The database was brought to this release's schema.",
        "ann@example.com is an administrator now.",
    ]
    with make().reads() as db:
        counts = [
            db.scalar(select(func.count()).select_from(model))
            for model in (Workspace, User, Membership, KeyCheck)
        ]
    assert counts == [1, 1, 1, 1]


def test_process_does_not_begin_before_the_release(make: Make) -> None:
    ctx = make()
    for begin in (start.begin, start.command):  # a database that was named is left to the release
        with pytest.raises(NotMigrated, match="Run: syncline release"):
            begin(ctx)
    start.release(ctx)
    start.begin(ctx)


def test_process_does_not_begin_under_another_key(make: Make) -> None:
    start.release(make())
    wrong = make(new_data_key("one"))
    for begin in (start.begin, start.command, start.release):
        with pytest.raises(SecretUnreadable, match="ENCRYPTION_KEYS does not hold the key"):
            begin(wrong)


def test_key_is_added_in_front_while_others_go_on_with_the_old_one(make: Make) -> None:
    old = make()
    start.release(old)
    (first,) = old.settings.encryption_keys
    ring = f"{new_data_key('two')},{first.id}:{base64.b64encode(first.secret).decode()}"
    for ctx in (make(ring), old, make(ring)):
        start.begin(ctx)

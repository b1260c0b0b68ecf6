"""What every unit of work is handed: settings, sessions, time, ids, chance and the way out.

`live()` is the one place that builds the real things. Tests build a Context of their own, with a
clock that stands still and ids that count.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.orm import Session, sessionmaker

from connectors.base import Access, Connector
from connectors.catalog import get as connector_named
from models.db import db_now, make_engine, make_read_sessions, make_sessions
from models.secrets import KeyRing
from settings import DataKey, Settings, read_data_keys
from settings import SettingsError as SettingsError  # through this door too
from tasks.broker import make_client
from tasks.errors import Stopping
from tasks.key_file import KeyFile
from tasks.quotas import InProcess, InRedis, SharedLimiter, Store


def _stay_silent(_id: str) -> None:
    """No queue at hand: what is queued is carried out in this process, or found by the next tick."""


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    sessions: sessionmaker[Session]  # for units that write: `with ctx.sessions.begin() as db`
    reads: sessionmaker[Session]  # for units that only read
    ring: KeyRing
    access: Access
    now: Callable[[], datetime]  # this process's clock: for display, never for leases or due times
    db_now: Callable[[Session], datetime]  # the database's clock
    new_id: Callable[[], str]
    rand: Callable[[], float]  # in [0, 1)
    wake: Callable[[str], None]  # ring a worker for this run id; swallows a silent queue
    queue_answers: Callable[[], bool]  # whether the queue can be reached just now
    stop: threading.Event  # set when this process is asked to stop
    ask: Callable[[str], None] = field(default=_stay_silent, kw_only=True)  # ring for this question id

    def connector(self, name: str, options: Mapping[str, object]) -> Connector:
        """A connector over these options (secrets included). Raises OptionsError."""
        kind = connector_named(name)
        return kind(kind.parse_options(options), self.access)


def _has_no_queue() -> bool:
    return False


def settings_from_env() -> Settings:
    """The settings of this process. Raises SettingsError."""
    return Settings.from_env()


def live(
    settings: Settings,
    *,
    wake: Callable[[str], None] = _stay_silent,
    queue_answers: Callable[[], bool] = _has_no_queue,
    ask: Callable[[str], None] = _stay_silent,
) -> Context:
    """The real thing over these settings. Connects to nothing until first used."""
    engine = make_engine(settings.database_url)
    stop = threading.Event()
    return Context(
        settings=settings,
        sessions=make_sessions(engine),
        reads=make_read_sessions(engine),
        ring=_ring(settings),
        access=Access(
            folders=settings.sources_folders,
            forbidden_files=settings.own_files,
            networks=settings.allowed_networks,
            allow_http=settings.allow_http,
            limiter=SharedLimiter(_store(settings), lambda seconds: _wait(stop, seconds)),
        ),
        now=lambda: datetime.now(UTC),
        db_now=db_now,
        new_id=lambda: uuid.uuid4().hex,
        rand=random.random,
        wake=wake,
        queue_answers=queue_answers,
        stop=stop,
        ask=ask,
    )


def _ring(settings: Settings) -> KeyRing:
    keys, file = _by_id(settings.encryption_keys), settings.encryption_keys_file
    return KeyRing(keys) if file is None else KeyRing(keys, KeyFile(file, _keys_in).newer)


def _keys_in(text: str) -> tuple[dict[str, bytes], list[str]]:
    ring, mistakes = read_data_keys(text)
    return _by_id(ring), mistakes


def _by_id(ring: Sequence[DataKey]) -> dict[str, bytes]:
    return {key.id: key.secret for key in ring}


def _store(settings: Settings) -> Store:
    """Where the quotas are counted: by all processes together where they share a Redis."""
    if settings.redis_url is None:
        return InProcess()
    return InRedis(make_client(settings.redis_url, timeout=2))


def _wait(stop: threading.Event, seconds: float) -> None:
    """Raises Stopping where the process is asked to stop meanwhile."""
    if stop.wait(seconds):
        raise Stopping("this process was asked to stop")

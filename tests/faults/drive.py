"""What goes wrong, at moments that the seed decides."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, time

import psycopg
import redis
from sqlalchemy.exc import SQLAlchemyError

from tasks import runs
from tasks.errors import WorkError
from tests.faults.house import House, Running

ROLES = ("worker-1", "worker-2", "scheduler")
WORKERS = ROLES[:2]


@dataclass
class Driver:
    """Injects faults until `seconds` have passed. Nothing is left broken between two of them."""

    house: House
    seed: int
    seconds: float
    injected: Counter[str] = field(default_factory=Counter)
    taken_down: list[tuple[str, float]] = field(default_factory=list)  # who was killed or stopped, and when

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self._until = monotonic() + self.seconds

    def run(self, scenario: str) -> None:
        fault = FAULTS[scenario]
        self._until = monotonic() + self.seconds
        while monotonic() < self._until:
            with contextlib.suppress(psycopg.OperationalError, redis.RedisError):
                fault(self)
            self.house.restart_the_dead()

    def finish(self, scenario: str) -> None:
        """The last fault, when nobody edits or asks for runs any more."""
        last = LAST.get(scenario)
        if last is not None:
            last(self)

    def sleep(self, least: float, most: float) -> None:
        threading.Event().wait(min(self.chance.uniform(least, most), max(0.0, self._until - monotonic())))

    # -- the faults --------------------------------------------------------------------------------

    def kill(self) -> None:
        """kill -9 of a worker, the scheduler or Redis."""
        self.sleep(1.0, 5.0)
        victim = self.chance.choices((*ROLES, "redis"), (5, 5, 2, 1))[0]
        if victim in WORKERS and self.chance.random() < 0.5 and (busy := self._writing()):
            victim = self.chance.choice(busy).role
        if victim == "redis":
            self.redis(0.1, 1.0)
            return
        item = self.house.running[victim]
        self.taken_down.append((item.name, time()))
        item.kill()
        self.injected["kill"] += 1
        self.sleep(0.1, 1.0)
        self.house.start(victim)

    def term(self) -> None:
        self.sleep(2.0, 5.0)
        victim = self.chance.choices(ROLES, (3, 3, 1))[0]
        self.house.terminate(victim)
        self.injected["term"] += 1
        self.house.start(victim)

    def flush(self) -> None:
        self.sleep(1.0, 4.0)
        with self.house.redis() as client:
            client.flushall()
        self.injected["flush"] += 1

    def flush_while_nobody_works(self) -> None:
        """Runs are queued and rung, the rings are lost, then the workers come: nobody rings for them."""
        for role in WORKERS:
            self.house.terminate(role)
        for config_id in self.house.config_ids:
            ask_for_run(self.house, config_id)
        with self.house.redis() as client:
            client.flushall()
        self.injected["flush"] += 1
        for role in WORKERS:
            self.house.start(role)

    def pause(self) -> None:
        """SIGSTOP of a worker that writes, until somebody else has its run, then SIGCONT.

        One that was stopped in the middle of a transaction of ours keeps its run by a lock, for a minute
        at most: then it goes on before anybody could take over.
        """
        house = self.house
        self.sleep(0.2, 1.0)
        for _ in range(60):
            with house.ends.connect() as db:
                committing = db.execute(_COMMITTING).fetchall()
            busy = self._writing() if committing else []
            if not busy:
                threading.Event().wait(0.03)
                continue
            item = self.chance.choice(busy)
            item.signal(signal.SIGSTOP)
            at = time()
            break
        else:
            return
        self.taken_down.append((item.name, at))
        self.injected["pause"] += 1
        house.wait(lambda: house.ask(_TAKEN_OVER, item.name, at), house.lease * 4)
        self.sleep(0.1, 1.0)
        item.signal(signal.SIGCONT)
        threading.Event().wait(0.5)

    def _writing(self) -> list[Running]:
        """The workers that are writing to a side just now."""
        with self.house.ends.connect() as db:
            held = db.execute(
                "SELECT DISTINCT worker FROM (SELECT worker, at FROM accepted ORDER BY seq DESC LIMIT 200) a"
                " WHERE at > clock_timestamp() - interval '0.5 s'"
            ).fetchall()
        return [item for item in self.house.running.values() if (item.name,) in held]

    def redis(self, least: float = 0.5, most: float = 8.0) -> None:
        self.sleep(0.5, 3.0)
        self.house.kill_redis()
        self.injected["redis"] += 1
        self.sleep(least, most)
        self.house.start_redis()

    def postgres(self) -> None:
        self.sleep(3.0, 8.0)
        self.house.stop_postgres()
        self.injected["postgres"] += 1
        self.sleep(0.2, 3.0)
        self.house.start_postgres()

    def proxy(self) -> None:
        proxy = self.house.proxy
        assert proxy is not None
        self.sleep(0.5, 2.5)
        what = self.chance.choice(("cut", "cut", "black_hole", "deaf", "refuse", "slow"))
        self.injected[what] += 1
        if what == "cut":
            proxy.cut()
            return
        proxy.mode = what  # type: ignore[assignment]
        self.sleep(0.5, 4.0)
        proxy.mode = "pass"
        if what in ("black_hole", "deaf"):
            proxy.cut()  # what was swallowed does not come any more

    def all(self) -> None:
        kinds = (self.kill, self.kill, self.term, self.flush, self.pause, self.redis, self.postgres)
        self.chance.choice(kinds)()

    def short(self) -> None:
        """One after the other, so that a short run has some of each."""
        kinds = (self.kill, self.pause, self.flush, self.kill, self.term)
        kinds[sum(self.injected.values()) % len(kinds)]()


FAULTS: dict[str, Callable[[Driver], None]] = {
    "kill": Driver.kill,
    "term": Driver.term,
    "flush": Driver.flush,
    "pause": Driver.pause,
    "redis": Driver.redis,
    "postgres": Driver.postgres,
    "proxy": Driver.proxy,
    "all": Driver.all,
    "short": Driver.short,
}
LAST: dict[str, Callable[[Driver], None]] = {
    "flush": Driver.flush_while_nobody_works,
    "short": Driver.flush_while_nobody_works,
}

_COMMITTING = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = 'ends' AND state = 'active' AND query ILIKE 'commit%'"
)
_TAKEN_OVER = (
    "SELECT 1 FROM faults.moves later JOIN faults.moves before ON before.run_id = later.run_id"
    " AND before.token < later.token AND before.state = 'running' WHERE before.worker = %s"
    " AND later.worker <> before.worker AND later.state = 'running' AND later.at > to_timestamp(%s)"
)


def ask_for_run(house: House, config_id: str, *, full: bool = False) -> bool:
    """As a person does. Whether it was taken: a config that is running, or a database away, says no."""
    try:
        runs.queue(house.ctx, config_id, asked_by="faults@example.org", full=full)
    except (WorkError, SQLAlchemyError):
        return False
    return True


class Impatient(threading.Thread):
    """Asks for runs all the time, so that there is always something to interrupt."""

    def __init__(self, house: House, seed: int, every: float) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self._house = house
        self._chance = random.Random(seed)
        self._every = every

    def run(self) -> None:
        ids = sorted(self._house.config_ids)
        while not self.stop.wait(self._every):
            ask_for_run(self._house, self._chance.choice(ids))

"""What goes wrong, at moments that the seed decides, and who uses the installation meanwhile."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, time

import httpx
import redis
from sqlalchemy.exc import SQLAlchemyError

from tasks import people, runs
from tasks.errors import WorkError
from tests.faults.house import House, Running
from tests.faults.state import Away

PACE_SECONDS = 3.5  # from one kill to the next, on average


@dataclass
class Driver:
    """Injects faults until `seconds` have passed, or `kills` of them. Nothing is left broken between two."""

    house: House
    seed: int
    seconds: float
    kills: int = 0  # 0: as many as there is time for
    least: int = 0  # so many at least, on a slow machine in up to three times the seconds
    injected: Counter[str] = field(default_factory=Counter)
    taken_down: list[tuple[str, float]] = field(default_factory=list)  # who was killed or stopped, and when

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.pace = self.seconds / self.kills if self.kills else PACE_SECONDS
        self._until = monotonic() + self.seconds

    def run(self, scenario: str) -> None:
        fault = FAULTS[scenario]
        self._until = monotonic() + self.seconds
        while self._goes_on():
            with contextlib.suppress(*Away, redis.RedisError):
                fault(self)
            self.house.restart_the_dead()

    def _goes_on(self) -> bool:
        done, left = sum(self.injected.values()), self._until - monotonic()
        if self.kills and done >= self.kills:
            return False
        return left > 0 or (done < self.least and left > -2 * self.seconds)

    def finish(self, scenario: str) -> None:
        """The last fault, when nobody edits or asks for runs any more."""
        last = LAST.get(scenario)
        if last is not None:
            last(self)

    def sleep(self, least: float, most: float) -> None:
        threading.Event().wait(min(self.chance.uniform(least, most), max(least, self._until - monotonic())))

    # -- the faults --------------------------------------------------------------------------------

    def kill(self) -> None:
        """kill -9 of a worker, the scheduler, the web process or Redis."""
        begun = monotonic()
        self.sleep(0.2 * self.pace, 1.0 * self.pace)
        workers = self.house.plan.workers
        weights = (*[10 / len(workers)] * len(workers), 2, 1, 1)
        victim = self.chance.choices((*workers, "scheduler", "web", "redis"), weights)[0]
        if victim in workers and self.chance.random() < 0.5 and (busy := self._writing()):
            victim = self.chance.choice(busy).role
        if victim == "redis":
            self.redis(0.1, 1.0)
            return
        item = self.house.running[victim]
        self.taken_down.append((item.name, time()))
        item.kill()
        self.injected["kill"] += 1
        self.sleep(0.05, 0.3)
        self.house.start(victim)
        self.sleep(*[max(0.0, self.pace - (monotonic() - begun))] * 2)

    def term(self) -> None:
        self.sleep(2.0, 5.0)
        roles = (*self.house.plan.workers, "scheduler", "web")
        victim = self.chance.choices(roles, [3] * (len(roles) - 2) + [1, 1])[0]
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
        for role in self.house.plan.workers:
            self.house.terminate(role)
        for config_id in self.house.config_ids:
            ask_for_run(self.house, config_id)
        with self.house.redis() as client:
            client.flushall()
        self.injected["flush"] += 1
        for role in self.house.plan.workers:
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
        house.wait(lambda: house.ask(_TAKEN_OVER, item.name, at), house.plan.lease * 4)
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

    def redis_for_long(self) -> None:
        """Redis killed without anything kept, for 5 or 30 seconds; or emptied."""
        what = self.chance.choice((5.0, 30.0, 0.0))
        if what:
            self.redis(what, what)
        else:
            self.flush()

    def postgres(self) -> None:
        """Stopped at once and started again; half of the time in the middle of a commit of ours."""
        self.sleep(3.0, 8.0)
        if self.chance.random() < 0.5:
            self.house.wait(lambda: self.house.ask(_OUR_COMMIT), 2.0, 0.005)
        self.house.stop_postgres()
        self.injected["postgres"] += 1
        self.sleep(0.2, 3.0)
        self.house.start_postgres()

    def proxy(self) -> None:
        name = self.chance.choice(("right", "right", "redis"))
        proxy = self.house.proxies[name]
        self.sleep(0.5, 2.5)
        what = self.chance.choice(("cut", "torn", "black_hole", "deaf", "refuse", "slow"))
        self.injected[f"{what} {name}"] += 1
        if what == "cut":
            proxy.cut()
            return
        proxy.mode = what  # type: ignore[assignment]
        self.sleep(0.5, 4.0)
        proxy.mode = "pass"
        if what in ("black_hole", "deaf"):
            proxy.cut()  # what was swallowed does not come any more

    def clock(self) -> None:
        """Every clock two hours ahead or three days back; or one worker a minute and a half off."""
        self.sleep(3.0, 6.0)
        roles = self.house.plan.roles
        what = self.chance.choice(("+7200", "-259200", "+90", "-90", "+0"))
        who = roles if what in ("+7200", "-259200", "+0") else (self.chance.choice(self.house.plan.workers),)
        for role in who:
            self.house.turn_clock(role, what)
        self.injected[f"clock {what}"] += 1

    def right_clocks(self) -> None:
        for role in self.house.plan.roles:
            self.house.turn_clock(role, "+0")

    def right_the_clocks_and_flush(self) -> None:
        self.right_clocks()
        self.flush_while_nobody_works()

    def all(self) -> None:
        kinds = (self.kill, self.kill, self.term, self.flush, self.pause, self.redis, self.postgres)
        self.chance.choice(kinds)()

    def short(self) -> None:
        """One after the other, so that a short run has some of each."""
        kinds = (self.kill, self.pause, self.flush, self.clock, self.kill, self.term)
        kinds[sum(self.injected.values()) % len(kinds)]()


FAULTS: dict[str, Callable[[Driver], None]] = {
    "kill": Driver.kill,
    "term": Driver.term,
    "flush": Driver.flush,
    "pause": Driver.pause,
    "redis": Driver.redis_for_long,
    "postgres": Driver.postgres,
    "proxy": Driver.proxy,
    "clock": Driver.clock,
    "all": Driver.all,
    "short": Driver.short,
}
LAST: dict[str, Callable[[Driver], None]] = {
    "flush": Driver.flush_while_nobody_works,
    "clock": Driver.right_clocks,
    "short": Driver.right_the_clocks_and_flush,
}

_COMMITTING = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = 'ends' AND state = 'active' AND query ILIKE 'commit%'"
)
_OUR_COMMIT = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = 'state' AND state = 'active' AND query ILIKE 'commit%'"
)
_TAKEN_OVER = (
    "SELECT 1 FROM faults_moves later JOIN faults_moves before ON before.run_id = later.run_id"
    " AND before.token < later.token AND before.state = 'running' WHERE before.worker = %s"
    " AND later.worker <> before.worker AND later.state = 'running' AND later.at > to_timestamp(%s)"
)


def ask_for_run(house: House, config_id: str, *, full: bool = False) -> str | None:
    """As a person does: the run's id. A config that is running, or a database away, says no."""
    try:
        return runs.queue(house.ctx, config_id, asked_by="faults@example.org", full=full)
    except (WorkError, SQLAlchemyError):
        return None


class Impatient(threading.Thread):
    """Asks for runs all the time, so that there is always something to interrupt."""

    def __init__(self, house: House, seed: int, every: float) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.promised: set[str] = set()  # what was answered with yes may not get lost
        self._house = house
        self._chance = random.Random(seed)
        self._every = every

    def run(self) -> None:
        ids = sorted(self._house.config_ids)
        while not self.stop.wait(self._every):
            if run_id := ask_for_run(self._house, self._chance.choice(ids)):
                self.promised.add(run_id)


class Visitor(threading.Thread):
    """Somebody who looks at the panel and clicks "Run now", while things break behind it."""

    def __init__(self, house: House, seed: int, every: float = 0.4) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.took: list[float] = []  # seconds, of pages that were answered well
        self.refused = 0  # pages that said plainly that something is away
        self.unreachable = 0
        self.wrong: list[str] = []  # what nobody should ever see
        self.promised: set[str] = set()
        self._house = house
        self._chance = random.Random(seed)
        self._every = every
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{house.web_port}", timeout=30)

    def run(self) -> None:
        with self._client:
            while not self.stop.wait(self._every):
                with contextlib.suppress(httpx.TransportError):
                    self._look()
                    continue
                self.unreachable += 1

    def _look(self) -> None:
        begun = monotonic()
        path = self._chance.choice(("/", "/configs", "/runs"))
        answer = self._client.get(path)
        if answer.status_code in (302, 303):
            self._sign_in()
            return
        if not self._judge(path, answer):
            return
        self.took.append(monotonic() - begun)
        if self._chance.random() < 0.2:
            self._click(answer.text)

    def _judge(self, what: str, answer: httpx.Response) -> bool:
        """Whether it was answered well; what went wrong without an id to ask about is written down."""
        if answer.status_code < 400:
            return True
        if answer.status_code >= 500:
            self.refused += 1
            if not re.search(r"[0-9a-f]{8}", answer.text):
                self.wrong.append(f"F-05 {what} answered {answer.status_code} without an id")
        return False

    def _click(self, page: str) -> None:
        config_id = self._chance.choice(sorted(self._house.config_ids))
        answer = self._client.post(f"/configs/{config_id}/runs", data={"csrf_token": _token(page)})
        run = re.search(r"/runs/([0-9a-f]{32})", answer.headers.get("location", ""))
        if self._judge("run now", answer) and run:
            self.promised.add(run.group(1))

    def _sign_in(self) -> None:
        try:
            path = people.one_time_sign_in(self._house.ctx, "faults@example.org")
        except SQLAlchemyError:
            return
        page = self._client.get(path)
        self._client.post(path, data={"csrf_token": _token(page.text)})


def _token(page: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    return found.group(1) if found else ""

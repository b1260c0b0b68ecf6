"""No call is sent that would be refused, whoever sends it; a pause that a system asks for holds for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import httpx
import pytest
import redis

from connectors.base import Access
from connectors.errors import RateLimited
from connectors.http import Http
from connectors.quotas import Quota
from models.sync_runs import RunState
from sync.values import iso
from tasks import overview, runs, shift
from tasks.claims import Claim
from tasks.context import Context
from tasks.errors import Stopping
from tasks.heartbeat import Heartbeat
from tasks.quotas import InProcess, InRedis, Refusal, SharedLimiter, Store
from tasks.reins import Reins
from tasks.sides import call
from tasks.summary import Summary
from tests.tasks.world import World

BASE = Quota("2 calls a second per base", "acme/base/1", 2)
OTHER_BASE = Quota("2 calls a second per base", "acme/base/2", 2)
TOKEN = Quota("3 calls a second per token", "acme/token/1", 3)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> SharedLimiter:
    return SharedLimiter(InProcess(clock), clock.sleep)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


def most_in_a_second(times: list[float]) -> int:
    return max(sum(1 for other in times if start <= other <= start + 1) for start in times)


# -- in one process ---------------------------------------------------------------------------------


def test_calls_keep_to_a_quota_whatever_the_second_they_fall_into(
    limiter: SharedLimiter, clock: Clock
) -> None:
    sent = []
    for _ in range(9):
        limiter.take([BASE])
        sent.append(clock.now)
        clock.now += 0.1
    assert most_in_a_second(sent) == 2
    assert sent[-1] - sent[0] < 4.5, "and no slower than they must"


def test_what_is_counted_elsewhere_is_not_waited_for(limiter: SharedLimiter, clock: Clock) -> None:
    for quota in (BASE, OTHER_BASE, BASE, OTHER_BASE):
        limiter.take([quota])
    assert clock.slept == []


def test_a_call_waits_for_the_last_of_its_quotas(limiter: SharedLimiter, clock: Clock) -> None:
    sent = []
    for number in range(8):
        limiter.take([BASE if number % 2 else OTHER_BASE, TOKEN])
        sent.append(clock.now)
    assert most_in_a_second(sent) == 3


def test_no_quota_no_wait(limiter: SharedLimiter, clock: Clock) -> None:
    for _ in range(100):
        limiter.take([])
    assert clock.slept == []


def test_a_pause_holds_everybody_back_who_shares_a_quota(limiter: SharedLimiter, clock: Clock) -> None:
    limiter.pause([BASE, TOKEN], 20)
    limiter.take([OTHER_BASE])
    assert clock.now == 1000
    limiter.take([OTHER_BASE, TOKEN])
    assert clock.now == 1020


def test_a_shorter_pause_does_not_end_a_longer_one(limiter: SharedLimiter, clock: Clock) -> None:
    limiter.pause([BASE], 25)
    limiter.pause([BASE], 5)
    limiter.take([BASE])
    assert clock.now == 1025


def test_after_a_refusal_calls_keep_further_apart_for_a_while(limiter: SharedLimiter, clock: Clock) -> None:
    def span() -> float:
        began = clock.now
        for _ in range(5):
            limiter.take([BASE])
        clock.now += 10
        return clock.now - 10 - began

    usual = span()
    limiter.pause([BASE], 1)
    clock.now += 1
    assert span() > usual + 0.4
    clock.now += 700
    assert span() == pytest.approx(usual, abs=0.01)


def test_workers_keep_further_apart_together(client: redis.Redis) -> None:
    one, other = InRedis(client), InRedis(client)
    one.pause([BASE], 0.01)
    sleep(0.02)
    while other.ask([BASE]) is None:
        pass
    refusal = other.ask([BASE])
    assert refusal is not None and refusal.seconds > 1.06


def test_a_long_wait_is_refused_with_its_time_and_not_waited_for(
    limiter: SharedLimiter, clock: Clock
) -> None:
    limiter.pause([BASE], 90)
    with pytest.raises(RateLimited, match=r"2 calls a second per base.*in 90 seconds") as caught:
        limiter.take([BASE])
    assert (caught.value.retry_after, clock.slept) == (90, [])


def test_a_process_that_stops_does_not_wait_for_a_quota(tmp_path: object, small_world: World) -> None:
    ctx = small_world.ctx
    ctx.access.limiter.pause([BASE], 30)
    began = monotonic()
    threading.Timer(0.1, ctx.stop.set).start()
    with pytest.raises(Stopping):
        ctx.access.limiter.take([BASE])
    assert monotonic() - began < 10


# -- the one client ---------------------------------------------------------------------------------


def asking(limiter: SharedLimiter, answers: list[httpx.Response], **more: object) -> Callable[[], object]:
    http = Http(
        "https://api.example.net",
        Access(limiter=limiter),
        transport=httpx.MockTransport(lambda _: answers.pop(0)),
        quotas=[BASE],
    )
    return lambda: http.get("/", **more)  # type: ignore[arg-type]


def test_a_refusal_pauses_everybody_for_as_long_as_it_says(limiter: SharedLimiter, clock: Clock) -> None:
    answers = [httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(200, json=[1])]
    ask = asking(limiter, answers)
    assert call(ask, retries=1) == [1]
    assert clock.slept == [7.0], "the limiter waits, and nobody a second time"


def test_a_refusal_without_a_time_pauses_for_half_a_minute(limiter: SharedLimiter, clock: Clock) -> None:
    ask = asking(limiter, [httpx.Response(429), httpx.Response(200, json={})])
    with pytest.raises(RateLimited):
        ask()
    ask()
    assert clock.slept == [30.0]


def test_calls_may_be_counted_each_in_its_own_way(limiter: SharedLimiter, clock: Clock) -> None:
    http = Http(
        "https://api.example.net",
        Access(limiter=limiter),
        transport=httpx.MockTransport(lambda _: httpx.Response(200)),
        quotas=[BASE],
    )
    for _ in range(2):
        http.ask("GET", "/")
    http.ask("GET", "/", quotas=[OTHER_BASE])
    http.ask("GET", "/", quotas=[])
    assert clock.slept == []
    http.ask("GET", "/")
    assert len(clock.slept) == 1


# -- over processes ---------------------------------------------------------------------------------


def test_workers_that_share_a_redis_keep_a_quota_together(client: redis.Redis) -> None:
    quota = Quota("10 calls in half a second", "acme/base/1", 10, 0.5)

    def worker(_: int) -> None:
        limiter = SharedLimiter(InRedis(client), sleep)
        for _ in range(5):
            limiter.take([quota])

    began = monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(worker, range(8)))
    took = monotonic() - began
    assert took > 3 * 0.5, "40 calls are four times ten: three times they had to wait"
    assert took < 30


def test_a_pause_reaches_the_other_workers_and_ends(client: redis.Redis) -> None:
    one, other = InRedis(client), InRedis(client)
    one.pause([BASE], 0.2)
    refused = other.ask([OTHER_BASE, BASE])
    assert refused is not None and refused.quota == BASE and 0 < refused.seconds <= 0.2
    assert other.ask([OTHER_BASE]) is None
    SharedLimiter(other, sleep).take([BASE])


def test_what_is_kept_in_redis_goes_away_by_itself(client: redis.Redis) -> None:
    store = InRedis(client)
    store.ask([BASE])
    store.pause([BASE], 5)
    keys = client.keys("syncline:quota:*")
    assert len(keys) == 3 and all(client.pttl(key) > 0 for key in keys)


def test_a_redis_that_was_emptied_or_forgot_its_scripts_is_used_on(client: redis.Redis) -> None:
    store = InRedis(client)
    assert [store.ask([BASE]) for _ in range(2)] == [None, None]
    client.flushall()
    client.script_flush()
    assert store.ask([BASE]) is None
    assert client.zcard(f"syncline:quota:{BASE.key}") == 1


def test_without_its_redis_a_process_keeps_the_quota_for_itself(clock: Clock) -> None:
    away = redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.5)
    limiter = SharedLimiter(InRedis(away, clock), clock.sleep)
    sent = []
    for _ in range(5):
        limiter.take([BASE])
        sent.append(clock.now)
    assert most_in_a_second(sent) == 2
    limiter.pause([BASE], 10)
    limiter.take([BASE])
    assert clock.slept[-1] == 10


@pytest.fixture(params=["in process", "in Redis"])
def store(request: pytest.FixtureRequest) -> Store:
    return InProcess() if request.param == "in process" else InRedis(request.getfixturevalue("client"))


def test_both_stores_say_how_long_to_wait(store: Store) -> None:
    for _ in range(2):
        assert store.ask([BASE]) is None
    refusal = store.ask([BASE])
    assert isinstance(refusal, Refusal) and 0.5 < refusal.seconds <= 1.06


# -- a run that meets a pause -----------------------------------------------------------------------


def test_a_run_that_would_wait_long_goes_back_to_the_line_and_says_when(small_world: World) -> None:
    world = small_world
    world.ctx.access.limiter.pause([BASE], 300)

    def asks(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        ctx.access.limiter.take([BASE])
        raise AssertionError("it was let through")

    run_id = runs.queue(world.ctx, world.config(), asked_by="alice@example.org")
    heartbeat = Heartbeat(world.ctx, "worker", threading.Event())
    shift.work(world.ctx, heartbeat, run_id, asks)
    heartbeat.close()
    run = world.run(run_id)
    assert (run.state, run.wait_code) == (RunState.QUEUED, "quota")
    assert BASE.name in run.wait_text
    (told,) = overview.status(world.ctx)
    assert told["status"] == "Waiting" and BASE.name in told["sentence"]
    assert run.not_before is not None and f"not before {iso(run.not_before)}" in told["sentence"]
    assert 295 < (run.not_before - world.now()).total_seconds() <= 300

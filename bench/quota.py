"""How much of Airtable's quota is used while there is work. `python -m bench.quota`

Two worker processes of 8 threads share a Redis and ask one simulated base as fast as they may; it allows 5
calls in any second and refuses all for 30 seconds after one too many. Calls take 100, 300 and 800 ms, and up
to 50 ms more or less on the way. Target: at least 95 % used, and no call refused.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import ip_network
from time import monotonic
from typing import Any

from connectors.airtable import Airtable, AirtableStreamOptions
from connectors.base import Access
from connectors.errors import RateLimited
from simulators import airtable as simulated
from simulators.base import serving
from tasks.broker import make_client
from tasks.quotas import InRedis, SharedLimiter
from tests.services import running_redis

TARGET = 0.95
WORKERS, THREADS = 2, 8
LATENCIES = (0.1, 0.3, 0.8)
JITTER = 0.05
START = 15.0  # seconds in which the workers load


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quota", description=__doc__)
    parser.add_argument("--seconds", type=float, default=40, help="how long to measure each latency")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    options = parser.parse_args()
    with running_redis() as redis_url:
        rows = [measured(redis_url, latency, options.seconds) for latency in LATENCIES]
    if options.json:
        print(json.dumps(rows))
    else:
        print(f"{'latency':>8} {'calls':>6} {'refused':>8} {'used':>6}   target {TARGET:.0%}")
        for row in rows:
            print(f"{row['latency']:>7.1f}s {row['calls']:>6} {row['refused']:>8} {row['used']:>6.1%}")
    sys.exit(0 if all(row["used"] >= TARGET and not row["refused"] for row in rows) else 1)


def measured(redis_url: str, latency: float, seconds: float) -> dict[str, Any]:
    """Two workers at one base for so long; how much of its quota they used."""
    rand = random.Random(7)
    event = threading.Event()
    system = simulated.Airtable(
        now=lambda: datetime.now(UTC),
        rand=rand.random,
        sleep=lambda wait: event.wait(wait + JITTER * rand.random()),
    )
    system.latency = latency
    base = system.add_base("Bench")
    system.add_table(base, "Records", [{"name": "Name", "type": "singleLineText"}])
    token = f"patBench.{latency}"  # one of its own: a pause of one measurement is none of the next
    system.add_token(token)
    with serving(system) as url:
        # Both begin together, once both are loaded: the clock is the machine's.
        job = {
            "url": url,
            "token": token,
            "base": base.id,
            "redis": redis_url,
            "begin": monotonic() + START,
            "seconds": seconds,
        }
        commands = [[sys.executable, "-m", "bench.quota_worker"]] * WORKERS
        _all_at_once(commands, json.dumps(job))
    calls = [call for call in system.calls if base.id in call.path]
    answered = [call for call in calls if call.status == 200]
    refused = len(calls) - len(answered)
    allowed = simulated.PER_BASE * seconds
    return {
        "latency": latency,
        "calls": len(answered),
        "refused": refused,
        "used": len(answered) / allowed,
    }


def _all_at_once(commands: Sequence[Sequence[str]], job: str) -> None:
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr, text=True) for command in commands
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(job)
        process.stdin.close()
    if any([process.wait() for process in running]):  # noqa: C419  all are waited for
        raise RuntimeError("a worker failed")


def work(job: Mapping[str, Any]) -> None:
    """One worker process: its threads ask until the time is over."""
    until = job["begin"] + job["seconds"]
    store = InRedis(make_client(job["redis"], timeout=5))
    limiter = SharedLimiter(store, lambda seconds: _wait(seconds, until))
    access = Access(networks=(ip_network("127.0.0.0/8"),), allow_http=True, limiter=limiter)
    options = Airtable.parse_options({"endpoint": job["url"], "base": job["base"], "token": job["token"]})

    def thread(_: int) -> None:
        with Airtable(options, access) as airtable:
            airtable.clock()  # no call about the base: what a process loads at its first call is loaded now
            threading.Event().wait(max(0.0, job["begin"] - monotonic()))
            while monotonic() < until:
                try:
                    airtable.stream("Records", AirtableStreamOptions())
                except RateLimited as refused:
                    print(refused.message, file=sys.stderr)
                except _Over:
                    return

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(thread, range(THREADS)))


class _Over(Exception):
    """The time of the measurement ends while a call waits for its place."""


def _wait(seconds: float, until: float) -> None:
    if monotonic() + seconds >= until:
        raise _Over
    threading.Event().wait(seconds)


if __name__ == "__main__":
    main()

"""Figures on time, over real processes with the default lease: how long does what people wait for take?

tick      one tick queues 10,000 configs that are due in the same minute (10 s)
run now   from the click to the first line of work, on an idle worker (p95 150 ms)
flush     what an emptied Redis costs the runs that were queued (one minute)
rescue    from a kill -9 to somebody else's claim (120 s)
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, time

from sqlalchemy import insert

from models.sync_configs import SyncConfig
from tasks import due, runs
from tests.faults import check
from tests.faults.house import House, Plan
from tests.tasks.world import World

MANY = 10_000
CLICKS = 40
TARGETS = {"tick s": 10.0, "run now p95 ms": 150.0, "flush s": 60.0, "rescue s": 120.0}


def measure(seed: int, *, keep_log: Path | None = None) -> dict[str, float]:
    """Each figure by its name. The seed is only for the order in which things are killed."""
    plan = Plan(configs=8, records=20, lease=60.0)
    with tempfile.TemporaryDirectory(prefix="syncline-figures-") as name:
        house = House(Path(name), plan)
        try:
            figures = _tick(house)
            if not house.start_all():
                raise TimeoutError("the processes did not start within a minute")
            # No slots: a worker that is idle is what is measured.
            house.ask("UPDATE sync_configs SET next_run_at = NULL, auto = %s", False)
            _until_idle(house)
            return figures | _run_now(house) | _flush(house) | _rescue(house, seed)
        finally:
            house.close()
            if keep_log is not None:
                keep_log.write_bytes(house.log.read_bytes())


def _tick(house: House) -> dict[str, float]:
    """In a database of its own, so that no worker takes up what it queues."""
    house.ask("CREATE DATABASE many")
    url = house.environment["DATABASE_URL"].rpartition("/")[0] + "/many"
    world = World(url, house.folder)
    try:
        now = datetime.now(UTC)
        one = world.connection()
        with world.ctx.sessions.begin() as db:
            db.execute(
                insert(SyncConfig),
                [
                    {
                        "id": f"many-{number:05}",
                        "workspace_id": world.workspace,
                        "name": f"sync {number}",
                        "definition": {},
                        "left_connection_id": one,
                        "right_connection_id": one,
                        "cron": "*/5 * * * *",
                        "timezone": "Europe/Paris",
                        "next_run_at": now - timedelta(seconds=30),
                        "created_at": now,
                        "updated_at": now,
                    }
                    for number in range(MANY)
                ],
            )
        ctx = replace(world.ctx, wake=house.bell)
        begun = monotonic()
        queued = due.tick(ctx).queued
        took = monotonic() - begun
    finally:
        world.close()
    with house.redis() as client:
        client.flushall()
    if queued != MANY:
        raise AssertionError(f"one tick queued {queued} of {MANY} configs")
    return {"tick s": took}


def _run_now(house: House) -> dict[str, float]:
    """From the click to the log line with which the work begins, by the clock that both share."""
    clicks: dict[str, float] = {}
    ids = sorted(house.config_ids)
    for number in range(CLICKS):
        _until_idle(house)
        threading.Event().wait(0.3 + (number * 37 % 100) / 250)  # at any moment of the workers' pauses
        clicked = time()
        clicks[runs.queue(house.ctx, ids[number % len(ids)], asked_by="faults@example.org")] = clicked
    _until_idle(house)
    begun = {}
    for line in house.log.read_text().splitlines():
        if '"run.started"' in line:
            event = json.loads(line)
            begun[event["run"]] = datetime.fromisoformat(event["timestamp"]).timestamp()
    took = [1000 * (begun[run] - clicked) for run, clicked in clicks.items()]
    return {
        "run now p50 ms": check.share(took, 0.5) or 0.0,
        "run now p95 ms": check.share(took, 0.95) or 0.0,
    }


def _flush(house: House) -> dict[str, float]:
    """The rings of all queued runs are lost while no worker looks: how long until the last one started?"""
    for role in house.plan.workers:
        house.terminate(role)
    queued = [runs.queue(house.ctx, one, asked_by="faults@example.org") for one in house.config_ids]
    with house.redis() as client:
        client.flushall()
    begun = monotonic()
    for role in house.plan.workers:
        house.start(role)
    marks = ", ".join(["%s"] * len(queued))
    waiting = f"SELECT 1 FROM sync_runs WHERE state = 'queued' AND id IN ({marks})"
    house.wait(lambda: not house.ask(waiting, *queued), 180, 0.1)
    took = monotonic() - begun
    _until_idle(house)
    return {"flush s": took}


def _rescue(house: House, seed: int) -> dict[str, float]:
    """A worker is killed in the middle of a run; how long until the other one has it?"""
    with house.ends.connect() as db:
        for name in house.ends.configs:
            db.execute(
                f"INSERT INTO l{name} (k, x, y) SELECT 'm' || n, 'x', 'y' FROM generate_series(1, 2000) n"
            )
    for config_id in house.config_ids:
        runs.queue(house.ctx, config_id, asked_by="faults@example.org", full=True)
    running = "SELECT worker FROM faults_moves WHERE state = 'running' ORDER BY seq DESC LIMIT 8"
    held = "SELECT count(*) FROM sync_runs WHERE state = 'running'"
    house.wait(lambda: int(house.ask(held)[0][0]) >= 4, 60, 0.05)
    names = sorted({str(worker) for (worker,) in house.ask(running)})
    victim = next(item for item in house.running.values() if item.name == names[seed % len(names)])
    killed = (victim.name, time())
    victim.kill()
    house.start(victim.role)
    _until_idle(house, 300)
    times = check.recoveries(check.moves(house), [killed])
    if not times:
        raise AssertionError("the killed worker held no run")
    return {"rescue s": max(times)}


def _until_idle(house: House, seconds: float = 120) -> None:
    busy = "SELECT 1 FROM sync_runs WHERE state IN ('queued', 'running') LIMIT 1"
    if not house.wait(lambda: not house.ask(busy), seconds, 0.05):
        raise TimeoutError("the runs did not end")


def show(figures: dict[str, float]) -> bool:
    """Print the figures beside their targets. Whether all are met."""
    met = True
    print(
        f"\nfigure            seen      target    (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    )
    for name, seen in figures.items():
        target = TARGETS.get(name)
        met = met and (target is None or seen <= target)
        print(f"{name:<16}  {seen:<8.1f}  {'' if target is None else f'<= {target:g}'}")
    return met

"""Real processes over a real Redis: what is killed, stopped, paused or flushed loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest
import redis

from models.secrets import check_canary
from models.sync_runs import RunState, SyncRun
from tasks import due, runs
from tasks.broker import Bell
from tests.tasks.world import World

ROOT = Path(__file__).parents[2]
WHO = "alice@example.org"
DEADLINE = 30.0


class Machine:
    """Starts processes over one world; ends, by their ids, those that are left."""

    def __init__(self, world: World, redis_url: str, folder: Path) -> None:
        self.world = world
        self.redis_url = redis_url
        self.story = folder / "story"
        self.log = folder / "log"
        self.started: list[subprocess.Popen[bytes]] = []
        settings = world.ctx.settings
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": redis_url,
            "SECRET_KEY": settings.secret_key,
            "ENCRYPTION_KEYS": "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "LEASE_SECONDS": "2",
            "LEASE_RENEW_SECONDS": "0.3",
            "RING_AGAIN_SECONDS": "1",
            "LOG_FORMAT": "json",
        }
        world.ctx = replace(world.ctx, wake=Bell(redis_url))

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=self.environment | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def worker(self, setup: str = "setup") -> subprocess.Popen[bytes]:
        return self.start(
            "dramatiq", f"tests.tasks.slow:{setup}", "--processes", "1", "--threads", "2", "--skip-logging",
            "--worker-shutdown-timeout", "10000", "--queues", "runs",
        )  # fmt: skip

    def scheduler(self, **environment: str) -> subprocess.Popen[bytes]:
        return self.start("tasks.scheduler", **environment)

    def queue(self, *, steps: int = 3, seconds: float = 0.02, **options: object) -> str:
        work = {"steps": steps, "seconds": seconds, "story": str(self.story), **options}
        return runs.queue(self.world.ctx, self.world.config(), asked_by=WHO, options=work)

    def steps(self) -> list[str]:
        return self.story.read_text().splitlines() if self.story.exists() else []

    def wait(self, what: Callable[[], object], seconds: float = DEADLINE) -> float:
        """Until it is so; how long that took."""
        begun = monotonic()
        while not what():
            if monotonic() - begun > seconds:
                raise AssertionError(f"not within {seconds} s\n{self.log.read_text()[-6000:]}")
            threading.Event().wait(0.02)
        return monotonic() - begun

    def ended(self, *run_ids: str) -> Callable[[], bool]:
        def look() -> bool:
            return all(self.run(run_id).finished_at is not None for run_id in run_ids)

        return look

    def run(self, run_id: str) -> SyncRun:
        return self.world.run(run_id)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """As a host does that has no patience: every process of the group, at once."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGCONT)
                self.kill(process)


@pytest.fixture
def machine(world: World, redis_url: str, tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(world, redis_url, tmp_path)
    yield machine
    machine.close()


on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def test_a_killed_workers_run_is_finished_by_another(machine: Machine) -> None:
    first = machine.worker()
    run_id = machine.queue(steps=40, seconds=0.1)
    machine.wait(lambda: len(machine.steps()) >= 3)
    machine.kill(first)
    machine.worker()
    took = machine.wait(machine.ended(run_id))
    run = machine.run(run_id)
    assert (run.state, run.token, run.interruptions) == (RunState.SUCCESS, 2, 1)
    assert took < 15


def test_a_group_that_is_told_to_stop_twice_gives_its_run_back_in_time(machine: Machine) -> None:
    worker = machine.worker()
    run_id = machine.queue(steps=600, seconds=0.1)
    machine.wait(lambda: len(machine.steps()) >= 3)
    begun = monotonic()
    os.killpg(worker.pid, signal.SIGTERM)
    os.killpg(worker.pid, signal.SIGTERM)
    assert worker.wait(timeout=20) == 0
    assert monotonic() - begun < 10
    run = machine.run(run_id)
    assert (run.state, run.interruptions, run.lease_owner) == (RunState.QUEUED, 0, None)
    machine.worker()
    machine.wait(lambda: machine.steps()[-1].startswith("2 "))
    runs.cancel(machine.world.ctx, run_id, by=WHO)
    assert machine.wait(machine.ended(run_id)) < 5
    assert machine.run(run_id).state == RunState.CANCELLED


@on_postgresql
def test_a_worker_whose_call_gets_no_answer_ends_in_time_all_the_same(machine: Machine) -> None:
    worker = machine.worker()
    run_id = machine.queue(steps=2, seconds=120)
    machine.wait(lambda: machine.steps())
    os.killpg(worker.pid, signal.SIGTERM)
    worker.wait(timeout=20)
    machine.worker()
    machine.wait(lambda: machine.steps()[-1].startswith("2 "))
    assert machine.run(run_id).interruptions == 1


@on_postgresql
def test_a_worker_that_slept_for_too_long_writes_nothing_after_the_takeover(machine: Machine) -> None:
    sleeper = machine.worker()
    run_id = machine.queue(steps=60, seconds=0.1)
    machine.wait(lambda: len(machine.steps()) >= 3)
    os.killpg(sleeper.pid, signal.SIGSTOP)
    machine.worker()
    # Stopped in the middle of a transaction it keeps the run until the database ends that after a minute.
    machine.wait(lambda: any(step.startswith("2 ") for step in machine.steps()), 90)
    os.killpg(sleeper.pid, signal.SIGCONT)
    machine.wait(machine.ended(run_id))
    tokens = [int(step.split()[0]) for step in machine.steps()]
    assert tokens == sorted(tokens), "no step of the old claim after one of the new"
    assert machine.run(run_id).state == RunState.SUCCESS


@on_postgresql
def test_a_run_that_kills_its_process_is_ended_and_the_others_go_on(machine: Machine) -> None:
    poison = machine.queue(steps=3, die_at=1)
    fine = machine.queue(steps=3)
    restarts = 0
    worker = machine.worker()

    def done() -> bool:
        nonlocal worker, restarts
        if worker.poll() is not None:  # as a supervisor does
            restarts += 1
            worker = machine.worker()
        return machine.ended(poison, fine)()

    machine.wait(done, 60)
    run = machine.run(poison)
    assert (run.state, run.error_code) == (RunState.FAILED, "interrupted")
    assert machine.run(fine).state == RunState.SUCCESS
    assert restarts == 3


@on_postgresql
def test_an_emptied_redis_costs_a_moment_and_no_run(machine: Machine) -> None:
    found = [machine.queue() for _ in range(10)]
    with redis.Redis.from_url(machine.redis_url) as client:
        assert client.llen("dramatiq:runs") == 10
        client.flushdb()
    machine.worker()
    machine.wait(machine.ended(*found))
    assert {machine.run(run_id).state for run_id in found} == {RunState.SUCCESS}


@on_postgresql
def test_a_process_with_a_dead_thread_ends_and_says_so(machine: Machine) -> None:
    worker = machine.worker("setup_with_a_consumer_that_dies")
    assert worker.wait(timeout=DEADLINE) != 0
    assert "process.thread_died" in machine.log.read_text()


def test_the_scheduler_ticks_at_once_and_stops_when_told(machine: Machine) -> None:
    world = machine.world
    config = world.config(cron="*/5 * * * *", next_run_at=world.now() - timedelta(seconds=1))
    scheduler = machine.scheduler()
    machine.wait(lambda: world.runs_of(config))
    begun = monotonic()
    scheduler.send_signal(signal.SIGTERM)
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=20) == 0
    assert monotonic() - begun < 5
    with redis.Redis.from_url(machine.redis_url) as client:
        assert client.llen("dramatiq:runs") == 1, "the run was rung"


@on_postgresql
def test_the_scheduler_ticks_without_a_redis_too(machine: Machine) -> None:
    world = machine.world
    config = world.config(cron="*/5 * * * *", next_run_at=world.now() - timedelta(seconds=1))
    scheduler = machine.scheduler(REDIS_URL="redis://127.0.0.1:1/0")
    machine.wait(lambda: world.runs_of(config))
    assert scheduler.poll() is None
    scheduler.terminate()
    assert scheduler.wait(timeout=20) == 0


@on_postgresql
def test_two_schedulers_are_as_good_as_one(machine: Machine) -> None:
    world = machine.world
    configs = [
        world.config(cron="*/5 * * * *", next_run_at=world.now() - timedelta(seconds=1)) for _ in range(20)
    ]
    both = [machine.scheduler(), machine.scheduler()]
    machine.wait(lambda: all(world.runs_of(config) for config in configs))
    machine.wait(lambda: machine.log.read_text().count('"event": "tick"') >= 2)
    for scheduler in both:
        scheduler.terminate()
    assert [scheduler.wait(timeout=20) for scheduler in both] == [0, 0]
    assert [len(world.runs_of(config)) for config in configs] == [1] * 20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"REDIS_URL": ""}, "REDIS_URL is not set"),
        ({"ENCRYPTION_KEYS": "other:HR4fEBESExQVFhcYGRobHAAAAQIDBAUGBwgJCgsMDQ4="}, "ENCRYPTION_KEYS"),
        ({"DATABASE_URL": "sqlite:///empty.db"}, "Run: syncline release"),
        ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS must be a number"),
    ],
)
def test_a_process_that_cannot_start_says_why_in_one_line(
    small_world: World, redis_url: str, tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    with small_world.ctx.sessions.begin() as db:
        check_canary(db, small_world.ctx.ring)
    machine = Machine(small_world, redis_url, tmp_path)
    if "DATABASE_URL" in wrong:
        wrong = {"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}"}
    try:
        assert machine.scheduler(**wrong).wait(timeout=DEADLINE) == 1
    finally:
        machine.close()
    told = machine.log.read_text().splitlines()
    assert len(told) == 1 and said in told[0], told


def test_importing_the_processes_starts_and_connects_nothing() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import socket, threading\n"
            "def bomb(*a, **k): raise SystemExit('connected')\n"
            "socket.socket.connect = bomb\n"
            "import tasks.main, tasks.scheduler, tasks.actors\n"
            "assert threading.enumerate() == [threading.main_thread()]",
        ],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")


@on_postgresql
def test_a_silent_redis_delays_no_click_for_long(world: World) -> None:
    bell = Bell("redis://127.0.0.1:1/0")
    world.ctx = replace(world.ctx, wake=bell)
    begun = monotonic()
    found = [runs.queue(world.ctx, world.config(), asked_by=WHO) for _ in range(5)]
    assert monotonic() - begun < 3
    assert {world.run(run_id).state for run_id in found} == {RunState.QUEUED}
    assert not bell.answers()
    assert due.tick(world.ctx).due == 0

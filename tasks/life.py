"""The life of a consuming process: its start, its one goodbye, and the watch over its threads."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any

import structlog
from dramatiq import Broker, Middleware, Worker

from tasks.heartbeat import Heartbeat

EXIT_DEAD_THREAD = 70
EXIT_STUCK = 75
WORKER_TIMEOUT_MS = 100  # how often an idle worker asks for messages
_LOOK_EVERY_SECONDS = 1.0
_DRAIN_SECONDS = 10.0
_STOP_SECONDS = 15.0  # from the first signal to the end: hosts kill after 30, and we promise 20
log = structlog.get_logger(__name__)


class Life(Middleware):
    """Starts and ends the heartbeat with the worker, hears one SIGTERM, and watches the threads.

    A host may send SIGTERM to every process and more than once; dramatiq takes a second one as "die
    now", in the middle of a batch. Here the first one sets `heartbeat.stop`, which runs look at between
    batches, and further ones change nothing.
    """

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.heartbeat = heartbeat
        self._shutting_down = threading.Event()
        self._is_gone = threading.Event()

    def after_process_boot(self, broker: Broker) -> None:
        hear_once(signal.SIGTERM, self.heartbeat.stop)

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        # A process that fetches more than it has threads keeps it from idle ones.
        worker.queue_prefetch = worker.worker_threads
        worker.worker_timeout = WORKER_TIMEOUT_MS

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self.heartbeat.start()
        threading.Thread(target=self._watch, args=(worker,), name="watchdog", daemon=True).start()
        threading.Thread(target=self._leave_in_time, name="deadline", daemon=True).start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._shutting_down.set()
        self.heartbeat.stop.set()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self.heartbeat.close()
        self._is_gone.set()

    def _leave_in_time(self) -> None:
        """Whatever hangs (a call without an answer, a machine without time): end before the host kills.

        What is still held then is taken over when its lease is over.
        """
        self.heartbeat.stop.wait()
        if not self._is_gone.wait(_STOP_SECONDS):
            log.critical("process.stuck_at_its_end", seconds=_STOP_SECONDS)
            os._exit(EXIT_STUCK)

    def _watch(self, worker: Worker) -> None:
        while not self._shutting_down.wait(_LOOK_EVERY_SECONDS):
            dead = dead_threads(worker, self.heartbeat)
            if dead and not self._shutting_down.is_set():
                log.critical("process.thread_died", threads=dead)
                self.die()

    def die(self) -> None:
        """End the process, with an exit code that says why: runs are handed back first if they can be."""
        self.heartbeat.stop.set()
        until = monotonic() + _DRAIN_SECONDS
        while self.heartbeat.is_holding and monotonic() < until:
            self._shutting_down.wait(0.1)
        self.heartbeat.close()
        os._exit(EXIT_DEAD_THREAD)


def dead_threads(worker: Worker, heartbeat: Heartbeat) -> list[str]:
    """The names of threads that should be alive and are not: without them the process is deaf."""
    dead = [f"consumer of {name}" for name, thread in worker.consumers.items() if not thread.is_alive()]
    dead += ["worker" for thread in worker.workers if not thread.is_alive()]
    return dead if heartbeat.is_alive else [*dead, "heartbeat"]


def hear_once(number: int, stop: threading.Event, then: Callable[[], None] | None = None) -> None:
    """Let the first signal set `stop` and go on to who listened before; ignore further ones."""
    before: Any = signal.getsignal(number)
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if len(heard) > 1:
            return
        stop.set()
        if then is not None:
            then()
        elif callable(before):
            before(number, frame)

    signal.signal(number, hear)

"""A worker whose runs are slow and write down each step: `dramatiq tests.tasks.slow:setup`.

A run's options say what it does: `steps`, how long a step takes (`seconds`), the file (`story`) that
gets a line "token step" after each fenced step, and `die_at`, the step at which it kills its process.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

from dramatiq import Broker, Middleware, Worker, get_broker

from models.sync_runs import SyncRun
from tasks.claims import Claim
from tasks.context import Context
from tasks.main import become_worker, from_env
from tasks.reins import Reins
from tasks.summary import Summary


def carry_out(ctx: Context, claim: Claim, reins: Reins) -> Summary:
    with ctx.reads() as db:
        options = db.get_one(SyncRun, claim.run_id).options
    for step in range(options["steps"]):
        reins.checkpoint()
        reins.progress("stepping", step, options["steps"])
        with ctx.sessions.begin() as db:
            reins.fence(db)
            with Path(options["story"]).open("a", encoding="ascii") as story:
                story.write(f"{claim.token} {step}\n")
        if options.get("die_at") == step:
            os._exit(9)
        threading.Event().wait(options["seconds"])
    reins.summary.unchanged = options["steps"]
    return reins.summary


def setup() -> None:
    become_worker(from_env("worker"), carry_out)


def setup_with_a_consumer_that_dies() -> None:
    setup()
    get_broker().add_middleware(_Killer())


class _Killer(Middleware):
    """Ends a consumer thread as an error outside of all handlers would."""

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        (victim,) = [thread for name, thread in worker.consumers.items() if not name.endswith(".DQ")]
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(victim.ident or 0), ctypes.py_object(SystemExit)
        )

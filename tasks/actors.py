"""Every actor, a line or two each: ids in, one call, out."""

from __future__ import annotations

from collections.abc import Callable

import dramatiq
from dramatiq import Actor, Broker
from periodiq import cron

from tasks import due, questions, shift
from tasks.broker import ANSWER, CONTROL, RUNS, START_RUN
from tasks.context import Context
from tasks.heartbeat import Heartbeat
from tasks.shift import CarryOut


def declare_start_run(
    broker: Broker, ctx: Context, heartbeat: Heartbeat, carry_out: CarryOut
) -> Actor[[str], None]:
    @dramatiq.actor(broker=broker, actor_name=START_RUN, queue_name=RUNS)
    def start_run(run_id: str) -> None:
        shift.work(ctx, heartbeat, run_id, carry_out)

    return start_run


def declare_tick(broker: Broker, ctx: Context, stop: Callable[[], bool]) -> Actor[[], None]:
    """Needs PeriodiqMiddleware on the broker."""

    @dramatiq.actor(broker=broker, actor_name="tick", queue_name=CONTROL, periodic=cron("* * * * *"))
    def tick() -> None:
        due.tick(ctx, stop)

    return tick


def declare_answer(broker: Broker, ctx: Context) -> Actor[[str], None]:
    @dramatiq.actor(broker=broker, actor_name=ANSWER, queue_name=CONTROL)
    def answer(question_id: str) -> None:
        questions.answer(ctx, question_id)

    return answer

"""A container's check says whether its own process beats, not whether some other one does."""

from __future__ import annotations

import socket
import threading

from tasks.alive import is_alive
from tasks.heartbeat import Heartbeat
from tests.tasks.world import World

HERE = socket.gethostname()


def test_a_process_is_alive_for_as_long_as_it_beats(world: World) -> None:
    heartbeat = Heartbeat(world.ctx, "worker", threading.Event())
    assert not is_alive(world.ctx, "worker", HERE)

    heartbeat.beat()
    assert is_alive(world.ctx, "worker", HERE)

    world.advance(world.ctx.settings.renew_seconds * 5)
    assert not is_alive(world.ctx, "worker", HERE)
    heartbeat.close()


def test_another_kind_or_another_host_does_not_count(world: World) -> None:
    heartbeat = Heartbeat(world.ctx, "scheduler", threading.Event())
    heartbeat.beat()

    assert not is_alive(world.ctx, "worker", HERE)
    assert not is_alive(world.ctx, "scheduler", f"{HERE}x")
    assert not is_alive(world.ctx, "scheduler", HERE[:-1])
    heartbeat.close()

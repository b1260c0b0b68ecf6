"""People are told of each change of state once, and see when they cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from models.issues import AlertDelivery
from tasks import alerts, telling
from tasks.context import Context
from tests.tasks.world import World

HOOK = "https://hooks.example.org/services/T0/B0/very-secret?sig=a%2Fb"


class Hook:
    """The service at the other end."""

    def __init__(self, *answers: int | Callable[[], httpx.Response]) -> None:
        self.answers = list(answers)
        self.got: list[dict[str, Any]] = []
        self.urls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers.pop(0) if self.answers else 200
        if callable(answer):
            return answer()
        self.urls.append(str(request.url))
        if answer < 300:
            self.got.append(json.loads(request.content))
        return httpx.Response(answer, text="very-secret was not liked")


def with_hook(world: World, url: str | None = HOOK) -> Context:
    return replace(world.ctx, settings=replace(world.ctx.settings, alert_webhook_url=url))


def send(world: World, hook: Hook, url: str | None = HOOK) -> int:
    return telling.send_due(with_hook(world, url), transport=httpx.MockTransport(hook))


def raised(world: World, config: str, message: str = "'orders' failed 3 times in a row.") -> None:
    with world.ctx.sessions.begin() as db:
        alerts.raise_alert(
            db,
            alerts.FAILING,
            message,
            at=world.ctx.db_now(db),
            workspace_id=world.workspace,
            config_id=config,
        )


def cleared(world: World, config: str) -> None:
    with world.ctx.sessions.begin() as db:
        alerts.clear_alert(db, alerts.FAILING, at=world.ctx.db_now(db), config_id=config)


def rows(world: World) -> list[AlertDelivery]:
    with world.ctx.reads() as db:
        return list(db.scalars(select(AlertDelivery).order_by(AlertDelivery.id)))


def test_a_failure_and_its_recovery_are_told_once_each_under_one_id(world: World) -> None:
    hook, config = Hook(), world.config()
    raised(world, config)
    raised(world, config)  # it stands already
    assert send(world, hook) == 1
    assert send(world, hook) == 0
    cleared(world, config)
    assert send(world, hook) == 1
    first, second = hook.got
    assert (first["event"], second["event"]) == ("raised", "cleared")
    assert first["id"] == second["id"]
    assert first["message"] == "'orders' failed 3 times in a row."
    assert second["cleared_at"] is not None
    assert hook.urls == [HOOK, HOOK]  # to the letter: a signature may stand in it


def test_a_hook_that_fails_for_a_day_gets_everything_once_and_in_order_afterwards(world: World) -> None:
    config = world.config()
    hook = Hook(*[500] * 30)
    for number in range(3):
        raised(world, config, f"number {number}")
        cleared(world, config)
    for _ in range(24):
        send(world, hook)
        world.advance(3600)
    assert hook.got == []
    hook.answers.clear()
    while send(world, hook):
        pass
    assert [(item["message"], item["event"]) for item in hook.got] == [
        (f"number {number}", event) for number in range(3) for event in ("raised", "cleared")
    ]


def test_a_pause_that_the_service_asks_for_is_kept(world: World) -> None:
    raised(world, world.config())
    hook = Hook(lambda: httpx.Response(429, headers={"retry-after": "300"}))
    assert send(world, hook) == 0
    world.advance(299)
    assert send(world, hook) == 0
    world.advance(2)
    assert send(world, hook) == 1


def test_a_refusal_is_not_repeated_and_is_seen(world: World) -> None:
    raised(world, world.config())
    hook = Hook(404)
    send(world, hook)
    assert (rows(world)[0].told, rows(world)[0].attempts) == (False, 1)
    said = telling.trouble(world.ctx)
    assert said is not None
    assert "404" in said
    assert "very-secret" not in said
    raised(world, world.config())
    send(world, hook)
    assert telling.trouble(world.ctx) is None  # it works again


def test_what_cannot_be_told_for_two_days_is_given_up(world: World) -> None:
    raised(world, world.config())
    hook = Hook(500, 500)
    send(world, hook)
    world.advance(timedelta(days=2, minutes=1).total_seconds())
    send(world, hook)
    assert rows(world)[0].settled_at is not None
    assert telling.trouble(world.ctx) is not None


def test_without_an_address_nothing_piles_up(world: World) -> None:
    raised(world, world.config())
    hook = Hook()
    assert send(world, hook, None) == 0
    assert send(world, hook) == 0
    assert hook.got == []
    assert telling.trouble(world.ctx) is None


@pytest.mark.parametrize(
    "url",
    ["https://hooks.slack.com/services/T/B/x", "https://a.01.environment.api.powerplatform.com/x?sig=1"],
    ids=["slack", "teams"],
)
def test_chats_get_what_they_can_show_and_nobody_is_pinged_by_a_record(world: World, url: str) -> None:
    hook = Hook(202)
    raised(world, world.config(), "<!channel> & co")
    assert send(world, hook, url) == 1
    (body,) = hook.got
    if "text" in body:
        assert body["text"] == "Needs attention: &lt;!channel&gt; &amp; co"
    else:
        (card,) = body["attachments"]
        assert card["content"]["type"] == "AdaptiveCard"
        assert card["content"]["body"][0]["text"] == "Needs attention: <!channel> & co"

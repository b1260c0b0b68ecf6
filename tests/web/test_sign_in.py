"""Coming in, staying in, going out."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, select
from werkzeug.datastructures import Headers

from models.people import Role, User, WebSession
from tasks import people, tokens
from tasks.context import Context
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.conftest import PASSWORD
from tests.web.world import Clock, World, make_context
from web import create_app, cron

# None of them may lead anywhere else after sign-in.
ELSEWHERE = [
    "//evil.example.com",
    "/\\evil.example.com",
    "\\\\evil.example.com",
    "https:evil.example.com",
    "https://evil.example.com/runs",
    "/%2fevil.example.com/%2e%2e/../..//evil.example.com\\",
    "javascript:alert(1)",
    "/\tevil.example.com",
    "\t//evil.example.com",
    "/runs\r\nLocation: https://evil.example.com",
    "@evil.example.com",
    "data:text/html,x",
    "runs",
    "",
]


@pytest.fixture
def dana(world: World, browser: Callable[[], Browser]) -> Browser:
    """Dana has a password and stands at the door."""
    world.person("dana", Role.OPERATOR, password=PASSWORD)
    return browser()


def enter(visitor: Browser, password: str = PASSWORD, email: str = "dana@example.com", **fields: str):  # type: ignore[no-untyped-def]
    return visitor.post("/sign-in", email=email, password=password, **fields)


def test_a_password_opens_the_desk(dana: Browser) -> None:
    response = enter(dana)
    assert (response.status_code, response.location) == (303, "/")
    assert "Dana" in dana.text("/")


def test_an_address_is_written_in_any_case(dana: Browser) -> None:
    assert enter(dana, email="  Dana@Example.com ").status_code == 303


@pytest.mark.parametrize(
    ("email", "password"),
    [("dana@example.com", "wrong"), ("nobody@example.com", PASSWORD), ("alice@example.com", ""), ("", "")],
)
def test_whatever_is_wrong_the_answer_is_the_same(dana: Browser, email: str, password: str) -> None:
    response = enter(dana, password, email)
    assert response.status_code == 422
    assert "The e-mail address, the password or the code is not right." in response.text
    assert password == "" or password not in response.text
    assert dana.get("/").status_code == 302


def test_somebody_who_was_disabled_does_not_come_in(dana: Browser, world: World, clock: Clock) -> None:
    with world.write() as db:
        db.execute(people.User.__table__.update().values(disabled_at=clock.now))  # type: ignore[attr-defined]
    assert enter(dana).status_code == 422


def test_a_link_opens_the_desk_once(stranger: Browser, browser: Callable[[], Browser], ctx) -> None:  # type: ignore[no-untyped-def]
    link = people.one_time_sign_in(ctx, "alice@example.com")
    assert "signs you in once" in stranger.text(link)
    assert stranger.get("/").status_code == 302, "opening the link alone signs nobody in"
    assert stranger.post(link).location == "/"
    assert "Alice" in stranger.text("/")
    second = browser().post(link)
    assert second.status_code == 422
    assert "used already or is too old" in second.text


def test_a_link_grows_old(stranger: Browser, ctx, clock: Clock) -> None:  # type: ignore[no-untyped-def]
    link = people.one_time_sign_in(ctx, "alice@example.com")
    clock.passes(minutes=16)
    assert stranger.post(link).status_code == 422


def test_a_new_session_has_a_new_id(dana: Browser) -> None:
    dana.get("/sign-in")
    before = _cookie(dana)
    enter(dana)
    first = _cookie(dana)
    dana.post("/sign-out")
    enter(dana)
    assert len({before, first, _cookie(dana)}) == 3


def test_a_session_dies_with_sign_out_even_for_a_copied_cookie(
    alice: Browser, browser: Callable[[], Browser], world: World
) -> None:
    thief = browser()
    thief.client.set_cookie("syncline", _cookie(alice))
    assert thief.get("/").status_code == 200
    assert alice.post("/sign-out").location == "/sign-in"
    assert thief.get("/").status_code == 302
    with world.ctx.reads() as db:
        assert db.scalars(select(WebSession)).all() == []


def test_a_session_dies_when_the_person_is_disabled(alice: Browser, world: World, clock: Clock) -> None:
    with world.write() as db:
        db.execute(people.User.__table__.update().values(disabled_at=clock.now))  # type: ignore[attr-defined]
    assert alice.get("/").status_code == 302


def test_a_session_that_nobody_uses_grows_old(alice: Browser, clock: Clock) -> None:
    clock.passes(days=6)
    assert alice.get("/").status_code == 200
    clock.passes(days=6)
    assert alice.get("/").status_code == 200, "each use renews it"
    clock.passes(days=8)
    assert alice.get("/").status_code == 302


def test_a_role_that_changed_counts_at_the_next_request(alice: Browser, world: World) -> None:
    config = world.config()
    with world.write() as db:
        db.execute(people.Membership.__table__.update().values(role="viewer"))  # type: ignore[attr-defined]
    assert alice.post(f"/configs/{config}/runs").status_code == 403


def test_one_is_led_back_to_where_one_wanted(dana: Browser) -> None:
    response = dana.get("/runs?state=failed&kind=manual")
    assert response.location == "/sign-in?next=/runs?state%3Dfailed%26kind%3Dmanual"
    assert 'name="next" value="/runs?state=failed&kind=manual"' in dana.text(response.location)
    assert enter(dana, next="/runs?state=failed&kind=manual").location == "/runs?state=failed&kind=manual"


@pytest.mark.parametrize("target", ELSEWHERE)
def test_nobody_is_led_to_another_site(dana: Browser, target: str) -> None:
    assert "evil" not in dana.get("/sign-in").text
    assert enter(dana, next=target).location == "/"


def test_who_is_signed_in_does_not_see_the_door(alice: Browser) -> None:
    assert alice.get("/sign-in").location == "/"


def test_a_lost_session_never_repeats_an_act(alice: Browser, world: World, clock: Clock) -> None:
    config = world.config()
    token = alice.token()
    clock.passes(days=31)
    response = alice.post(f"/configs/{config}/runs", token)
    assert response.status_code == 401
    assert "Nothing was changed" in response.text


def test_guessing_is_slowed_down(dana: Browser) -> None:
    answers = [enter(dana, "wrong").status_code for _ in range(7)]
    assert answers[:5] == [422] * 5
    assert answers[5:] == [429] * 2
    last = enter(dana)
    assert "Too many tries" in last.text
    assert last.headers["Retry-After"] == "60"


def test_one_account_cannot_lock_out_another(dana: Browser, world: World) -> None:
    world.person("eve", Role.VIEWER, password=PASSWORD)
    for _ in range(6):
        enter(dana, "wrong")
    assert enter(dana, email="eve@example.com").status_code == 303


def test_themes_are_remembered(alice: Browser) -> None:
    assert "data-bs-theme" not in alice.text("/")
    assert alice.post("/preferences/theme", theme="dark", back="/runs").location == "/runs"
    assert '<html lang="en" data-bs-theme="dark">' in alice.text("/")
    alice.post("/preferences/theme", theme="auto")
    assert "data-bs-theme" not in alice.text("/")
    assert alice.post("/preferences/theme", theme="pink").status_code == 400
    assert alice.post("/preferences/theme", theme="dark", back="//evil.example.com").location == "/"


def test_keys_are_switched_off_and_on(alice: Browser) -> None:
    assert 'id="keys" aria-labelledby="keys-title" data-on>' in alice.text("/")
    assert alice.post("/preferences/keys", keys="off", back="/runs").location == "/runs"
    page = alice.text("/")
    assert "data-on" not in page and "They are switched off in this browser." in page
    alice.post("/preferences/keys", keys="on")
    assert "data-on" in alice.text("/")
    assert alice.post("/preferences/keys", keys="x").status_code == 400


def _cookie(visitor: Browser) -> str:
    cookie = visitor.client.get_cookie("syncline")
    assert cookie is not None
    return cookie.value


def wrong_keys(app: Flask, times: int) -> list[int]:
    """What so many calls with a made-up token are answered."""
    client = app.test_client()
    headers = {"Authorization": "Bearer sln_made_up"}
    return [client.get("/api/v1/me", headers=headers).status_code for _ in range(times)]


def test_failed_authentications_are_counted_by_all_processes_together(
    tmp_path: Path, clock: Clock, redis_url: str
) -> None:
    ctx = make_context(tmp_path, clock, redis_url=redis_url)
    World(ctx, clock)
    first, second = create_app(ctx), create_app(ctx)
    assert wrong_keys(first, 12) + wrong_keys(second, 12) == [401] * 20 + [429] * 4
    assert wrong_keys(first, 1) == [429]


def test_failed_authentications_are_counted_while_redis_is_away(tmp_path: Path, clock: Clock) -> None:
    ctx = make_context(tmp_path, clock, redis_url="redis://127.0.0.1:1/0")
    World(ctx, clock)
    assert wrong_keys(create_app(ctx), 22) == [401] * 20 + [429] * 2


def test_a_right_key_opens_although_its_address_has_had_too_many_strikes(
    app: Flask, caller: Callable[..., Caller]
) -> None:
    assert 429 in wrong_keys(app, 25)
    assert caller("alice").get("/me").status_code == 200


# -- how long an answer takes tells nothing: the same work is done for each ------------------------


class Counting:
    """The hasher, which notes which kind of hash it was asked about."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.asked: list[str] = []

    def verify(self, known: str, password: str) -> bool:
        self.asked.append("$".join(known.split("$")[:4]))  # algorithm, version, costs
        return bool(self._real.verify(known, password))

    def check_needs_rehash(self, known: str) -> bool:
        return bool(self._real.check_needs_rehash(known))


@contextmanager
def statements(ctx: Context) -> Iterator[list[str]]:
    """What our database is asked meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    engine = ctx.reads.kw["bind"].engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_wrong_password_and_an_unknown_person_cost_the_same_work(
    ctx: Context, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.person("known", Role.OPERATOR, password=PASSWORD)
    world.person("linked", Role.OPERATOR)  # has no password
    with world.write() as db:
        db.get_one(User, world.person("away", Role.OPERATOR, password=PASSWORD)).disabled_at = world.clock.now
    people.sign_in_with_password(ctx, "known@example.com", "wrong password")  # the pools are warm
    done = {}
    for name in ("known", "linked", "away", "unknown"):
        hasher = Counting(people._HASHER)
        monkeypatch.setattr(people, "_HASHER", hasher)
        with statements(ctx) as asked:
            assert people.sign_in_with_password(ctx, f"{name}@example.com", "wrong password") is None
        monkeypatch.undo()
        done[name] = (hasher.asked, asked)
    hashes, asked = done["known"]
    assert len(hashes) == 1 and len(asked) >= 2
    assert all(found == (hashes, asked) for found in done.values()), done


def test_what_is_checked_for_nobody_costs_what_a_new_password_costs() -> None:
    assert not people._HASHER.check_needs_rehash(people._NOBODY)


def test_a_token_that_is_almost_right_costs_the_same_work_as_a_made_up_one(
    ctx: Context, caller: Callable[..., Caller]
) -> None:
    real = caller("alice").token
    tokens.find(ctx, real)
    done = []
    for said in (real[:-1] + "x", real[:12], "sln_" + "x" * 43):
        with statements(ctx) as asked:
            assert tokens.find(ctx, said) is None
        done.append(asked)
    assert len(done[0]) >= 1 and all(asked == done[0] for asked in done)


def test_every_cron_secret_is_compared_whatever_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return bool(real(one, other))

    monkeypatch.setattr(hmac, "compare_digest", counting)
    secrets = ("a" * 40, "b" * 40)
    for said, fits in ((secrets[0], True), (secrets[1], True), ("a" * 39 + "x", False), ("x", False)):
        compared.clear()
        assert cron.knows_the_secret(secrets, Headers({"x-cron-key": said})) is fits
        assert compared == [secret.encode() for secret in secrets], said

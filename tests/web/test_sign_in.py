"""Coming in, staying in, going out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from models.people import Role, WebSession
from tasks import people
from tests.web.browser import Browser
from tests.web.conftest import PASSWORD
from tests.web.world import Clock, World

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
    assert "Too many tries" in enter(dana).text


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


def _cookie(visitor: Browser) -> str:
    cookie = visitor.client.get_cookie("syncline")
    assert cookie is not None
    return cookie.value

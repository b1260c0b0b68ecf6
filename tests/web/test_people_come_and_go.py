"""People: invited by a link, given a role, with a second factor, let go, forgotten when they ask for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from flask import Flask
from sqlalchemy import select, update

from models.audit import AuditEvent
from models.chains import ChainLink
from models.migrate import upgrade
from models.people import Membership, Role, User, Workspace
from models.secrets import KeyRing
from models.sync_configs import SyncConfig
from settings import Settings
from tasks import audit, farewell, invitations, keys, members, people, runs, second_factor, start, tokens
from tasks.context import Context, live
from tasks.errors import WorkError, WrongState
from tasks.rights import Capability
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.conftest import PASSWORD
from tests.web.test_doors import dump
from tests.web.world import OTHER, OWN, Clock, World

NEW_PASSWORD = "four words are best"


def link_of(alice: Browser, email: str = "dora@example.com", role: str = "viewer") -> str:
    page = alice.post("/people/invitations", email=email, role=role)
    assert page.status_code == 200, page.text
    found = re.search(r"<code>http://localhost(/invitations/[\w-]+)</code>", page.text)
    assert found, page.text
    return found[1]


def come_in(browser: Browser, link: str, **fields: str) -> Any:
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(link).text)
    return browser.post(link, token[1] if token else "", name="Dora", password=NEW_PASSWORD, **fields)


def test_an_invitation_lets_one_person_in_once(
    alice: Browser, browser: Callable[[], Browser], world: World
) -> None:
    link = link_of(alice)
    assert link.rpartition("/")[2] not in str(dump(world))
    dora = browser()
    assert "invited to Acme as viewer" in dora.words(link)
    assert come_in(dora, link).status_code == 303
    assert "dora@example.com" in dora.text("/")
    assert come_in(browser(), link).status_code in (400, 404)
    assert "dora@example.com" in alice.text("/people")


def test_an_invitation_ends_after_two_days_or_when_it_is_withdrawn(
    alice: Browser, stranger: Browser, clock: Clock, ctx: Context
) -> None:
    link = link_of(alice)
    clock.passes(hours=48)
    assert stranger.get(link).status_code == 404
    other = link_of(alice.__class__(alice.client.application, ctx).sign_in("alice"), "eve@example.com")
    [row] = [row for row in invitations.listed(ctx, OWN) if row.email == "eve@example.com"]
    invitations.withdraw(ctx, row.id, OWN, by="alice")
    assert stranger.get(other).status_code == 404


def test_who_has_an_account_signs_in_first(alice: Browser, charlie: Browser, stranger: Browser) -> None:
    link = link_of(alice, "charlie@example.com", "operator")
    assert "Sign in first" in stranger.words(link)
    assert stranger.post(link, stranger.token(), password=NEW_PASSWORD).status_code == 422
    assert charlie.post(link).status_code == 303
    assert "Acme" in charlie.text("/")


def test_two_at_once_cannot_use_one_invitation(ctx: Context, world: World) -> None:
    _, path = invitations.invite(ctx, OWN, "dora@example.com", Role.VIEWER, by="alice@example.com")
    token = path.rpartition("/")[2]

    def accept(_: int) -> str | None:
        try:
            return invitations.accept(ctx, token, user_id=None, name="D", password=NEW_PASSWORD)
        except WorkError:
            return None

    with ThreadPoolExecutor(5) as pool:
        assert len([token for token in pool.map(accept, range(5)) if token]) == 1


@pytest.mark.parametrize(
    "email", ["", "dora", "a@b@c", "dora @example.com", "dora@example.com\nbcc: x", "x" * 330 + "@a.b"]
)
def test_what_is_no_address_is_not_invited(ctx: Context, world: World, email: str) -> None:
    with pytest.raises(WorkError, match="not an e-mail address"):
        invitations.invite(ctx, OWN, email, Role.VIEWER, by="alice")


def test_twins_of_an_address_are_one_person(ctx: Context, world: World) -> None:
    for twin in ("ALICE@example.com", " alice@example.com", "ａlice@example.com"):
        with pytest.raises(WorkError, match="already"):
            invitations.invite(ctx, OWN, twin, Role.VIEWER, by="alice")


def test_a_role_that_is_taken_is_gone_with_the_next_request(
    alice: Browser, bob: Browser, caller: Callable[..., Caller], world: World
) -> None:
    program, config = caller("bob"), world.config()
    assert alice.post("/people/user-bob/role", role="viewer").status_code == 303
    assert bob.get("/").status_code == 302
    assert program.post(f"/configs/{config}/runs").status_code == 403


def test_who_is_removed_is_out_everywhere(
    alice: Browser, bob: Browser, caller: Callable[..., Caller], ctx: Context
) -> None:
    program = caller("bob")
    assert alice.post("/people/user-bob/removal").status_code == 303
    assert bob.get("/").status_code == 302
    assert program.get("/me").status_code == 401


def test_the_last_administrator_stays(ctx: Context, world: World, caller: Callable[..., Caller]) -> None:
    ada = caller("alice")
    for refused in (ada.delete("/people/user-alice"), ada.put("/people/user-alice", {"role": "viewer"})):
        assert refused.json is not None
        assert (refused.status_code, refused.json["code"]) == (409, "last_admin")
    with pytest.raises(WrongState):
        farewell.ask(ctx, "user-alice", "anonymise", by="alice")
    assert ada.put("/people/user-bob", {"role": "admin"}).status_code == 200
    assert ada.delete("/people/user-alice").status_code == 204


def test_of_two_administrators_who_leave_at_once_one_stays(ctx: Context, world: World) -> None:
    members.set_role(ctx, OWN, "user-bob", Role.ADMIN, by="alice")

    def leave(user_id: str) -> bool:
        try:
            members.remove(ctx, OWN, user_id, by="x")
        except WrongState:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(leave, ("user-alice", "user-bob"))) == [False, True]


# -- second factor ---------------------------------------------------------------------------------


def sign_in(browser: Browser, code: str = "") -> int:
    return browser.post("/sign-in", email="alice@example.com", password=PASSWORD, code=code).status_code


def test_a_second_factor_is_asked_for_beside_the_password(
    app: Flask, ctx: Context, world: World, clock: Clock, browser: Callable[[], Browser]
) -> None:
    people.set_password(ctx, "user-alice", PASSWORD, by="test")
    alice = browser().sign_in("alice")
    page = alice.post("/account/second-factor", current=PASSWORD).text
    secret = re.search(r"secret=([A-Z2-7]+)", page)
    assert secret
    assert "<svg" in page
    assert secret[1] not in str(dump(world)), "it is stored encrypted only"
    assert alice.post("/account/second-factor/confirmation", code="000000").status_code == 422
    assert sign_in(browser()) == 303, "not yet in force"
    code = pyotp.TOTP(secret[1]).at(clock.now)
    assert alice.post("/account/second-factor/confirmation", code=code).status_code == 303
    assert sign_in(browser()) == 422
    assert sign_in(browser(), code) == 422, "a code works once"
    clock.passes(seconds=60)
    assert sign_in(browser(), pyotp.TOTP(secret[1]).at(clock.now)) == 303
    clock.passes(seconds=60)
    assert sign_in(browser(), "12345é") == 422
    second_factor.switch_off(ctx, "user-alice", by="alice")
    assert people.sign_in_with_password(ctx, "alice@example.com", PASSWORD)


def test_a_second_factor_whose_key_is_away_refuses_in_the_usual_words(
    ctx: Context, world: World, browser: Callable[[], Browser]
) -> None:
    people.set_password(ctx, "user-alice", PASSWORD, by="test")
    with world.write() as db:
        alice = db.get_one(User, "user-alice")
        alice.totp_secret, alice.totp_step = "v1.gone.x.y", 1
    assert sign_in(browser(), "123456") == 422
    second_factor.switch_off(ctx, "user-alice", by="alice")
    assert sign_in(browser()) == 303


def test_a_second_factor_is_set_up_by_who_knows_the_password(
    alice: Browser, ctx: Context, world: World, browser: Callable[[], Browser]
) -> None:
    without = alice.post("/account/second-factor", current="")
    assert without.status_code == 422
    assert "Set a password first" in without.text
    people.set_password(ctx, "user-alice", PASSWORD, by="test")
    alice = browser().sign_in("alice")
    for wrong in ("", "not it"):
        refused = alice.post("/account/second-factor", current=wrong)
        assert (refused.status_code, "secret=" in refused.text) == (422, False)
        assert "The current password is not right." in refused.text
    with ctx.reads() as db:
        assert db.get_one(User, "user-alice").totp_secret is None
    assert alice.post("/account/second-factor", current=PASSWORD).status_code == 200


# -- sessions --------------------------------------------------------------------------------------


def test_sessions_are_listed_and_ended_one_by_one(
    alice: Browser, browser: Callable[[], Browser], ctx: Context
) -> None:
    other = browser().sign_in("alice")
    here, there = (people.hash_of(_cookie(item)) for item in (alice, other))
    assert {row.token_hash for row in people.sessions_of(ctx, "user-alice")} == {here, there}
    assert alice.post(f"/account/sessions/{there}/end").status_code == 303
    assert other.get("/").status_code == 302
    assert alice.get("/").status_code == 200


def _cookie(browser: Browser) -> str:
    with browser.client.session_transaction() as session:
        return str(session["_user_id"])


def test_nobody_ends_somebody_elses_session(bob: Browser, alice: Browser, world: World) -> None:
    assert bob.post(f"/account/sessions/{people.hash_of(_cookie(alice))}/end").status_code == 404
    assert alice.get("/").status_code == 200


# -- the end of an account -------------------------------------------------------------------------


def test_what_acts_for_somebody_who_goes_stops_at_once(ctx: Context, world: World, bob: Browser) -> None:
    config = world.config(owner_id="user-bob")
    assert bob.post("/account/deletion", mode="anonymise", email="wrong@example.com").status_code == 422
    assert bob.post("/account/deletion", mode="anonymise", email="bob@example.com").status_code == 303
    assert bob.get("/").status_code == 302
    with ctx.reads() as db, pytest.raises(WorkError, match=r"bob@example\.com"):
        people.owner_must_be_allowed(db, db.get_one(SyncConfig, config))


def test_the_door_says_why_one_stands_before_it(bob: Browser, ctx: Context) -> None:
    bob.post("/account/deletion", mode="anonymise", email="bob@example.com")
    assert "Your account ends in thirty days. Signing in before takes that back." in bob.words("/sign-in")
    assert "thirty days" not in bob.words("/sign-in"), "once"
    bob.sign_in("bob").post("/account/password", password=NEW_PASSWORD)
    assert "The password is set. Sign in with it." in bob.words("/sign-in")


def test_signing_in_takes_it_back(
    ctx: Context, world: World, browser: Callable[[], Browser], clock: Clock
) -> None:
    farewell.ask(ctx, "user-bob", "everything", by="bob")
    clock.passes(days=29)
    browser().sign_in("bob")
    clock.passes(days=2)
    assert farewell.purge(ctx) == 0
    with ctx.reads() as db:
        assert db.get_one(User, "user-bob").deletion_due_at is None


@pytest.mark.parametrize(("mode", "left"), [("anonymise", 2), ("everything", 1)])
def test_after_thirty_days_the_person_is_gone(
    ctx: Context, world: World, clock: Clock, caller: Callable[..., Caller], mode: Any, left: int
) -> None:
    mine, other = world.config("mine", owner_id="user-bob"), world.config("other")
    caller("bob").post(f"/configs/{other}/pause", {"reason": "ask bob@example.com"})
    run = runs.queue(ctx, mine, asked_by="bob@example.com")
    runs.cancel(ctx, run, by="bob@example.com")
    audit.seal(ctx)
    due = farewell.ask(ctx, "user-bob", mode, by="bob@example.com")
    assert due == clock.now + timedelta(days=30)
    clock.passes(days=29, hours=23)
    assert farewell.purge(ctx) == 0
    clock.passes(hours=1)
    assert farewell.purge(ctx) == 1
    audit.seal(ctx)
    assert "bob@example.com" not in str(dump(world))
    assert audit.verify(ctx).problems == ()
    with ctx.reads() as db:
        assert len(db.scalars(select(SyncConfig.id)).all()) == left
        actors = set(db.scalars(select(AuditEvent.actor).where(AuditEvent.action == "config.paused")))
    [actor] = actors
    assert re.fullmatch(r"deleted-[\w-]+@deleted\.invalid \(token script\)", actor)


def test_people_of_another_workspace_are_not_touched(charlie: Browser, ctx: Context, world: World) -> None:
    for path in ("/people/user-bob/removal", "/people/user-bob/role"):
        assert charlie.post(path, role="viewer").status_code == 404
    assert {user.email for user, _ in members.listed(ctx, OTHER)} == {"charlie@example.com"}


def test_a_second_factor_survives_the_rotation_of_keys(ctx: Context, world: World, clock: Clock) -> None:
    people.set_password(ctx, "user-alice", PASSWORD, by="test")
    found = re.search(r"secret=([A-Z2-7]+)", second_factor.begin(ctx, "user-alice"))
    assert found
    code = pyotp.TOTP(found[1])
    second_factor.confirm(ctx, "user-alice", code.at(clock.now))
    old = {key.id: key.secret for key in ctx.settings.encryption_keys}
    both = replace(ctx, ring=KeyRing({"new": b"n" * 32, **old}))
    assert keys.rotate(both, by="test").failed == ()
    only_new = replace(ctx, ring=KeyRing({"new": b"n" * 32}))
    clock.passes(minutes=2)
    told = ("alice@example.com", PASSWORD)
    assert people.sign_in_with_password(only_new, *told, code=code.at(clock.now))
    assert people.sign_in_with_password(only_new, *told, code="000000") is None


def test_an_administrator_makes_a_workspace_and_turns_to_it(
    alice: Browser, bob: Browser, world: World
) -> None:
    assert bob.post("/workspaces", name="North").status_code == 403
    assert bob.post("/workspace/name", name="North").status_code == 403
    assert alice.post("/workspaces", name="North").status_code == 303
    assert "North" in alice.words("/") and "customers" not in alice.text("/configs")
    assert alice.post("/workspaces", name="North").status_code == 409
    assert alice.post("/workspaces", name=" ").status_code == 422
    assert alice.post("/workspace/name", name="South").status_code == 303
    assert "South" in alice.words("/people")
    with world.ctx.reads() as db:
        assert db.get_one(Workspace, OWN).name == "Acme", "only the one that is looked at"


def test_a_program_makes_and_renames_a_workspace_of_its_person(caller: Callable[..., Caller]) -> None:
    ada = caller("alice")
    made = ada.post("/workspaces", {"name": "North"})
    assert made.status_code == 201 and made.json is not None
    assert ada.put(f"/workspaces/{made.json['id']}/name", {"name": "x"}).status_code == 404, "not the token's"
    assert ada.put(f"/workspaces/{OWN}/name", {"name": "Acme & Sons"}).status_code == 200
    assert ada.json("/workspaces")["items"][0]["name"] == "Acme & Sons"
    assert caller("bob").post("/workspaces", {"name": "x"}).status_code == 403


def test_nobody_comes_back_by_an_invitation_of_their_own_making(
    ctx: Context, world: World, stranger: Browser
) -> None:
    world.person("dana", Role.ADMIN)
    for stays in (True, False):
        _, path = invitations.invite(ctx, OWN, "friend@example.com", Role.ADMIN, by="dana@example.com")
        token = path.rsplit("/", 1)[1]
        assert invitations.find(ctx, token) is not None
        if stays:
            members.set_role(ctx, OWN, "user-dana", Role.OPERATOR, by="alice@example.com")
        else:
            members.remove(ctx, OWN, "user-dana", by="alice@example.com")
        assert invitations.find(ctx, token) is None
        assert stranger.post(path, name="F", password=PASSWORD).status_code == 404
        with world.write() as db:
            assert db.scalar(select(User).where(User.email == "friend@example.com")) is None
            member = db.scalar(select(Membership).where(Membership.user_id == "user-dana"))
            if member is not None:
                member.role = Role.ADMIN.value


NARROW = Capability.READ


def test_a_token_that_may_less_than_its_person_touches_no_account(
    caller: Callable[..., Caller], alice: Browser, ctx: Context
) -> None:
    narrow, whole = caller("alice", NARROW), caller("alice")
    session = whole.json("/account/sessions")["items"][0]["id"]
    wish = {"mode": "anonymise", "email": "alice@example.com"}
    for refused in (
        narrow.post("/account/deletion", wish),
        narrow.delete(f"/account/sessions/{session}"),
        narrow.delete(f"/tokens/{whole.id}"),
    ):
        assert refused.status_code == 403 and "may less than you" in refused.text, refused.text
    assert alice.get("/").status_code == 200 and whole.get("/me").status_code == 200
    assert narrow.delete(f"/tokens/{narrow.id}").status_code == 204, "itself it may revoke"
    assert narrow.get("/me").status_code == 401
    assert whole.delete(f"/account/sessions/{session}").status_code == 204


def test_a_token_makes_none_that_outlives_it(
    caller: Callable[..., Caller], ctx: Context, world: World
) -> None:
    made = tokens.make(ctx, "user-alice", OWN, "short", [Capability.READ], days=1, by="test")
    short = caller("alice", Capability.READ)
    short.token = made.token
    child = short.post("/tokens", {"name": "child", "scopes": ["read"], "days": None})
    assert child.status_code == 201 and child.json is not None
    listed = {row["id"]: row for row in caller("alice").json("/tokens")["items"]}
    assert listed[child.json["id"]]["expires_at"] == listed[made.id]["expires_at"]


def test_two_administrators_who_go_at_once_leave_one_behind(
    pg_url: str, tmp_path: Path, clock: Clock
) -> None:
    """The database decides, not the moment at which each looked."""
    settings = replace(Settings.from_env({"DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"}, folder=tmp_path))
    ctx = live(replace(settings, database_url=pg_url))
    upgrade(start.engine_of(ctx))
    try:
        with ctx.sessions.begin() as db:
            db.add(Workspace(id=OWN, name="Acme", created_at=clock.now))
            db.flush()
            for name in ("ada", "bea"):
                db.add(User(id=name, email=f"{name}@example.com", created_at=clock.now))
                db.flush()
                db.add(Membership(workspace_id=OWN, user_id=name, role="admin"))
        for _ in range(5):
            with ThreadPoolExecutor(2) as pool:
                asked = [
                    pool.submit(farewell.ask, ctx, name, "anonymise", by=name) for name in ("ada", "bea")
                ]
            refused = [item for item in asked if item.exception() is not None]
            assert len(refused) == 1 and isinstance(refused[0].exception(), WrongState)
            with ctx.sessions.begin() as db:
                db.execute(update(User).values(deletion_due_at=None))
    finally:
        start.engine_of(ctx).dispose()


def test_the_name_of_somebody_else_stays_when_theirs_holds_a_deleted_one(
    ctx: Context, world: World, clock: Clock
) -> None:
    """bob@example.com goes; jimbob@example.com and bob@example.com.au are other people."""
    config = world.config()
    run = world.run(config, asked_by="bob@example.com")
    others = {
        world.run(config, minutes=number, asked_by=name): name
        for number, name in enumerate(("jimbob@example.com", "bob@example.com.au", "x.bob@example.com"), 2)
    }
    world.line(run, "Asked by Bob@Example.com.")
    with world.write() as db:
        audit.record(db, "run.queued", run, by="jimbob@example.com", at=clock.now, for_whom="bob@example.com")
    farewell.ask(ctx, "user-bob", "anonymise", by="bob@example.com")
    clock.passes(days=31)
    assert farewell.purge(ctx) == 1
    stored = str(dump(world))
    assert "jimbob@example.com" in stored and "bob@example.com.au" in stored
    for name in others.values():
        stored = stored.replace(name, "")
    assert "bob@example.com" not in stored.lower()


def test_syncs_that_others_run_after_hold_no_account_back(ctx: Context, world: World, clock: Clock) -> None:
    mine, mine_too, theirs = (
        world.config(name, owner_id=owner)
        for name, owner in (("a", "user-bob"), ("b", "user-bob"), ("c", "user-alice"))
    )
    with world.write() as db:
        db.add_all(
            [ChainLink(config_id=mine_too, after_id=mine), ChainLink(config_id=theirs, after_id=mine_too)]
        )
    farewell.ask(ctx, "user-bob", "everything", by="bob@example.com")
    clock.passes(days=31)
    assert farewell.purge(ctx) == 1
    with ctx.reads() as db:
        left = set(db.scalars(select(SyncConfig.id)))
        assert left == {mine, mine_too, theirs}, "theirs needs the second, which needs the first"
        with pytest.raises(WorkError, match="may not run"):
            people.owner_must_be_allowed(db, db.get_one(SyncConfig, mine))


def test_a_narrow_token_gets_no_reply_that_another_token_of_its_person_was_given(
    caller: Callable[..., Caller],
) -> None:
    whole, narrow = caller("alice"), caller("alice", Capability.READ)
    wish = {"name": "deploy", "scopes": ["administer"]}
    made = whole.post("/tokens", wish, Idempotency_Key="guessable")
    assert made.status_code == 201 and made.json is not None
    assert whole.post("/tokens", wish, Idempotency_Key="guessable").json == made.json
    refused = narrow.post("/tokens", wish, Idempotency_Key="guessable")
    assert refused.status_code == 422 and made.json["token"] not in refused.text

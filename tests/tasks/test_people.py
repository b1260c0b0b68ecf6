"""Who may come in, by which door, and for how long."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from models.audit import AuditEvent
from models.people import Membership, Role, SignInLink, User, WebSession, Workspace
from tasks import farewell, members, people
from tasks.errors import NotFound, WorkError, WrongState
from tests.tasks.world import World

ALICE = "alice@example.org"
PASSWORD = "correct horse battery staple"


@pytest.fixture
def alice(world: World) -> str:
    """Her id; she is an administrator."""
    world.ctx = replace(world.ctx, settings=replace(world.ctx.settings, admin_emails=(ALICE,)))
    assert people.prepare(world.ctx) == [ALICE]
    with world.ctx.reads() as db:
        return db.scalars(select(User.id).where(User.email == ALICE)).one()


def token_of(path: str) -> str:
    return path.rpartition("/")[2]


def enter(world: World) -> str:
    session = people.sign_in_with_link(world.ctx, token_of(people.one_time_sign_in(world.ctx, ALICE)))
    assert session is not None
    return session


def test_the_first_start_makes_a_workspace_and_its_administrators_once(world: World, alice: str) -> None:
    threads = [threading.Thread(target=people.prepare, args=(world.ctx,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.ctx.reads() as db:
        assert db.scalars(select(User.email)).all() == [ALICE]
        assert people.role_in(db, alice, people.DEFAULT_WORKSPACE) is Role.ADMIN
        assert [workspace.id for workspace, _ in people.workspaces_of(db, alice)] == ["default"]
    assert people.first_administrator(world.ctx) == ALICE


def named(world: World, *emails: str) -> list[str]:
    """Start with these ADMIN_EMAILS; who became an administrator."""
    world.ctx = replace(world.ctx, settings=replace(world.ctx.settings, admin_emails=emails))
    return people.prepare(world.ctx)


@pytest.mark.parametrize("was", [Role.VIEWER, Role.OPERATOR, None])
def test_who_is_named_an_administrator_later_becomes_one_at_the_next_start(
    world: World, alice: str, was: Role | None
) -> None:
    people.add(world.ctx, "bob@example.org", was or Role.VIEWER, by="test")
    bob = people.user_id_of(world.ctx, "bob@example.org")
    if was is None:
        members.remove(world.ctx, people.DEFAULT_WORKSPACE, bob, by="test")
    people.set_password(world.ctx, bob, PASSWORD, by="test")
    session = people.sign_in_with_password(world.ctx, "bob@example.org", PASSWORD)
    assert session
    assert named(world, ALICE, "bob@example.org") == ["bob@example.org"]
    assert named(world, ALICE, "bob@example.org") == []
    with world.ctx.reads() as db:
        assert people.role_in(db, bob, people.DEFAULT_WORKSPACE) is Role.ADMIN
        told = db.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
    assert (told.action, told.actor, told.subject) == ("user.role_set", "installation", "bob@example.org")
    assert told.detail == {"role": "admin", "reason": "named in ADMIN_EMAILS"}
    assert people.find_session(world.ctx, session) is None, "more rights, a new session"


@pytest.mark.parametrize("door", ["link", "password"])
def test_who_is_named_an_administrator_is_one_when_they_sign_in(world: World, alice: str, door: str) -> None:
    people.add(world.ctx, "bob@example.org", Role.ADMIN, by="test")
    people.set_password(world.ctx, alice, PASSWORD, by="test")
    members.set_role(world.ctx, people.DEFAULT_WORKSPACE, alice, Role.VIEWER, by="bob@example.org")
    session = enter(world) if door == "link" else people.sign_in_with_password(world.ctx, ALICE, PASSWORD)
    assert session
    assert people.find_session(world.ctx, session)
    with world.ctx.reads() as db:
        assert people.role_in(db, alice, people.DEFAULT_WORKSPACE) is Role.ADMIN


def test_naming_somebody_an_administrator_opens_no_closed_account(world: World, alice: str) -> None:
    for email in ("gone@example.org", "going@example.org"):
        people.add(world.ctx, email, Role.VIEWER, by="test")
    with world.ctx.sessions.begin() as db:
        db.execute(update(User).where(User.email == "gone@example.org").values(disabled_at=world.now()))
    going = people.user_id_of(world.ctx, "going@example.org")
    farewell.ask(world.ctx, going, "anonymise", by="test")
    assert named(world, ALICE, "gone@example.org", "going@example.org") == []
    with world.ctx.reads() as db:
        assert db.get_one(User, going).deletion_due_at is not None


def test_a_local_installation_has_an_administrator_without_being_told(small_world: World) -> None:
    assert people.prepare(small_world.ctx) == ["admin@localhost"]


def test_a_link_signs_in_once(world: World, alice: str) -> None:
    token = token_of(people.one_time_sign_in(world.ctx, " Alice@Example.org "))
    session = people.sign_in_with_link(world.ctx, token, client="Firefox")
    assert session is not None
    found = people.find_session(world.ctx, session)
    assert found is not None and (found.user_id, found.email) == (alice, ALICE)
    assert people.sign_in_with_link(world.ctx, token) is None
    with world.ctx.reads() as db:
        acts = db.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert acts == ["user.added", "user.signed_in"]


def test_a_link_used_by_many_at_once_signs_in_one(world: World, alice: str) -> None:
    token = token_of(people.one_time_sign_in(world.ctx, ALICE))
    found: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(people.sign_in_with_link(world.ctx, token)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([session for session in found if session]) == 1


def test_a_link_is_good_for_a_quarter_of_an_hour(world: World, alice: str) -> None:
    token = token_of(people.one_time_sign_in(world.ctx, ALICE))
    world.advance(15 * 60 + 1)
    assert people.sign_in_with_link(world.ctx, token) is None
    assert people.sign_in_with_link(world.ctx, "made up") is None
    with pytest.raises(NotFound):
        people.one_time_sign_in(world.ctx, "stranger@example.org")


def test_no_token_is_stored(world: World, alice: str) -> None:
    token = token_of(people.one_time_sign_in(world.ctx, ALICE))
    session = people.sign_in_with_link(world.ctx, token)
    assert session is not None and len(session) >= 43
    with world.ctx.reads() as db:
        kept = [*db.scalars(select(SignInLink.token_hash)), *db.scalars(select(WebSession.token_hash))]
    assert token not in kept and session not in kept


def test_a_password_signs_in_and_a_wrong_one_does_not(world: World, alice: str) -> None:
    assert people.sign_in_with_password(world.ctx, ALICE, PASSWORD) is None, "she has none yet"
    people.set_password(world.ctx, alice, PASSWORD, by=ALICE)
    assert people.sign_in_with_password(world.ctx, ALICE, PASSWORD + "!") is None
    assert people.sign_in_with_password(world.ctx, "stranger@example.org", PASSWORD) is None
    assert people.sign_in_with_password(world.ctx, ALICE, "x" * 100_000) is None
    session = people.sign_in_with_password(world.ctx, "ALICE@example.org", PASSWORD)
    assert session is not None and people.find_session(world.ctx, session) is not None
    for bad in ("short", "x" * 300):
        with pytest.raises(WorkError, match="12 to 200"):
            people.set_password(world.ctx, alice, bad, by=ALICE)


def test_a_session_ends_when_one_signs_out(world: World, alice: str) -> None:
    session, other = enter(world), enter(world)
    people.end_session(world.ctx, session)
    assert people.find_session(world.ctx, session) is None
    assert people.find_session(world.ctx, other) is not None
    people.end_sessions_of(world.ctx, alice)
    assert people.find_session(world.ctx, other) is None


def test_a_session_ends_with_a_new_password_and_with_the_account(world: World, alice: str) -> None:
    session = enter(world)
    people.set_password(world.ctx, alice, PASSWORD, by=ALICE)
    assert people.find_session(world.ctx, session) is None
    session = enter(world)
    link = token_of(people.one_time_sign_in(world.ctx, ALICE))
    with world.ctx.sessions.begin() as db:
        db.get_one(User, alice).disabled_at = world.now()
    assert people.find_session(world.ctx, session) is None
    assert people.sign_in_with_link(world.ctx, link) is None
    assert people.sign_in_with_password(world.ctx, ALICE, PASSWORD) is None


def test_a_session_ends_after_a_week_of_silence_and_after_a_month_in_any_case(
    world: World, alice: str
) -> None:
    idle, busy = enter(world), enter(world)
    for _ in range(7):
        world.advance(timedelta(days=4).total_seconds())
        assert people.find_session(world.ctx, busy) is not None
    assert people.find_session(world.ctx, idle) is None
    world.advance(timedelta(days=3).total_seconds())
    assert people.find_session(world.ctx, busy) is None


def test_roles_are_ranked_and_end_with_the_workspace(world: World, alice: str) -> None:
    assert people.is_at_least(Role.ADMIN, Role.OPERATOR)
    assert people.is_at_least(Role.VIEWER, Role.VIEWER)
    assert not people.is_at_least(Role.VIEWER, Role.OPERATOR)
    assert not people.is_at_least(None, Role.VIEWER)
    with world.ctx.sessions.begin() as db:
        db.add(Membership(workspace_id=world.workspace, user_id=alice, role="viewer"))
    with world.ctx.reads() as db:
        assert people.role_in(db, alice, world.workspace) is Role.VIEWER
        assert people.role_in(db, alice, "elsewhere") is None
        assert people.role_in(db, "nobody", world.workspace) is None


def test_the_last_administrator_is_not_made_less_from_the_command_line(small_world: World) -> None:
    ctx = small_world.ctx
    with ctx.sessions.begin() as db:
        db.add(Workspace(id=people.DEFAULT_WORKSPACE, name="ours", created_at=ctx.now()))
    people.add(ctx, "ann@example.org", Role.ADMIN, by="test")
    with pytest.raises(WrongState, match="Nobody else administers"):
        people.add(ctx, "ann@example.org", Role.VIEWER, by="test")
    people.add(ctx, "bob@example.org", Role.ADMIN, by="test")
    assert people.add(ctx, "ann@example.org", Role.VIEWER, by="test") is False

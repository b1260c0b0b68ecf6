"""Tokens of connections: renewed in time, by one at a time, stored before use; and what their end means."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from sqlalchemy import select

from connectors.errors import AuthError, Unavailable
from connectors.oauth import GrantEnded
from models.audit import AuditEvent
from models.connections import Connection
from models.grants import Consent, Grant
from models.issues import Alert
from models.people import Membership, User
from models.secrets import KeyRing
from models.sync_configs import SyncConfig
from simulators.base import serving
from simulators.google_sheets import GoogleSheets
from tasks import connections, grants, keys, naming, saving, signing_in
from tasks.context import Context
from tasks.errors import WorkError, WrongState
from tasks.sides import connector_of
from tests.tasks.world import World

ADA: dict[str, str] = {"user_id": "ada", "by": "ada@example.org"}
BACK = "http://127.0.0.1:9/oauth/callback"


class Stage:
    """A connection to a simulated Google, and a browser."""

    def __init__(self, world: World, google: GoogleSheets, url: str) -> None:
        self.world, self.google, self.url = world, google, url
        self.session = requests.Session()
        settings = replace(
            world.ctx.settings,
            google_client_id="syncline",
            google_client_secret="simulated-secret",
            allow_http=True,
        )
        access = replace(world.ctx.access, networks=(ip_network("127.0.0.0/8"),), allow_http=True)
        self.ctx: Context = replace(world.ctx, settings=settings, access=access)
        google.add_client("syncline", "simulated-secret")
        self.book = google.add_book("Sales")
        self.config = world.config()
        with self.ctx.sessions.begin() as db:
            db.add(User(id="ada", email="ada@example.org", created_at=world.now()))
            db.flush()
            db.add(Membership(workspace_id=world.workspace, user_id="ada", role="admin"))
            config = db.get_one(SyncConfig, self.config)
            self.id = config.right_connection_id
            connection = db.get_one(Connection, self.id)
            connection.connector = "google_sheets"
            connection.options = {"spreadsheet": self.book.id, "endpoint": url}

    def consent(self, session: str = "browser", **changed: Any) -> dict[str, str]:
        """Off to Google and back: what the browser brings."""
        url = signing_in.begin(self.ctx, self.id, bound_to=session, redirect_uri=BACK)
        asked = dict(parse_qsl(urlsplit(url).query))
        assert asked["code_challenge_method"] == "S256"
        form = {**asked, "act": "allow", **changed}
        answer = self.session.post(url.partition("?")[0], data=form, allow_redirects=False, timeout=20)
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    def sign_in(self) -> None:
        back = self.consent()
        signing_in.finish(self.ctx, state=back["state"], session="browser", code=back["code"], **ADA)

    def grant(self) -> Grant:
        with self.ctx.reads() as db:
            return db.get_one(Grant, self.id)

    def runs_out(self, minutes: float = 0) -> None:
        with self.ctx.sessions.begin() as db:
            grant = db.get_one(Grant, self.id)
            grant.expires_at = self.ctx.db_now(db) + timedelta(minutes=minutes)

    def refreshes(self) -> int:
        return sum(call.path == "/token" for call in self.google.calls)


@pytest.fixture
def stage(world: World) -> Iterator[Stage]:
    google = GoogleSheets(now=lambda: datetime.now(UTC), rand=random.Random(5).random)
    google.has_limits = False
    with serving(google) as url:
        yield Stage(world, google, url)


def test_whoever_signed_in_is_kept_encrypted_and_the_connection_works(stage: Stage) -> None:
    with pytest.raises(AuthError, match="Nobody has signed in"):
        grants.token_of(stage.ctx, stage.id)
    stage.sign_in()
    grant = stage.grant()
    assert (grant.account, grant.signed_in_by) == ("person@example.org", "ada@example.org")
    assert not any(token in grant.tokens for token in (*stage.google.tokens, *stage.google.grants))
    with stage.ctx.reads() as db:
        connection = db.get_one(Connection, stage.id)
    with connector_of(stage.ctx, connection) as connector:
        assert connector.check() == "The spreadsheet 'Sales' holds 1 tab."
        assert "person@example.org" in connector.quotas()[0].key
    assert [found["ok"] for found in connections.check(stage.ctx) if found["connector"] == "google_sheets"]


def test_a_token_is_renewed_before_its_end(stage: Stage) -> None:
    stage.sign_in()
    first = grants.token_of(stage.ctx, stage.id)
    assert grants.token_of(stage.ctx, stage.id) == first
    stage.runs_out(minutes=4)
    assert grants.token_of(stage.ctx, stage.id) != first
    assert stage.grant().number == 2


def test_a_token_that_is_refused_is_renewed_once(stage: Stage) -> None:
    stage.sign_in()
    first = grants.token_of(stage.ctx, stage.id)
    second = grants.token_of(stage.ctx, stage.id, refused=first)
    assert second != first
    assert grants.token_of(stage.ctx, stage.id, refused=first) == second


def test_ten_workers_at_once_make_one_refresh(stage: Stage) -> None:
    stage.sign_in()
    stage.runs_out()
    stage.google.calls.clear()
    stage.google.latency = 0.3
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(grants.token_of(stage.ctx, stage.id))) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(found), len(set(found)), stage.refreshes()) == (10, 1, 1)


def test_a_worker_that_dies_while_it_renews_blocks_nobody_for_long(stage: Stage) -> None:
    stage.sign_in()
    stage.runs_out()
    with stage.ctx.sessions.begin() as db:
        db.get_one(Grant, stage.id).refreshing_until = stage.ctx.db_now(db) + timedelta(seconds=0.5)
    assert grants.token_of(stage.ctx, stage.id)


def test_a_refresh_that_finds_nobody_is_tried_again_later(stage: Stage) -> None:
    stage.sign_in()
    stage.runs_out()
    stage.google.faults.plan("unavailable")
    with pytest.raises(Unavailable):
        grants.token_of(stage.ctx, stage.id)
    assert grants.token_of(stage.ctx, stage.id)
    assert stage.grant().ended_at is None


def test_the_end_of_a_sign_in_pauses_its_syncs_with_one_alert_and_a_new_one_resumes_them(
    stage: Stage,
) -> None:
    stage.sign_in()
    other = stage.world.config()
    stage.google.end_grants("person@example.org")
    stage.runs_out()
    for _ in range(3):
        with pytest.raises(GrantEnded, match="sign in again"):
            grants.token_of(stage.ctx, stage.id)
    with stage.ctx.reads() as db:
        config = db.get_one(SyncConfig, stage.config)
        assert config.paused_at is not None
        assert "has ended" in (config.paused_reason or "")
        assert db.get_one(SyncConfig, other).paused_at is None
        assert [alert.kind for alert in db.scalars(select(Alert).where(Alert.cleared_at.is_(None)))] == [
            "grant"
        ]
    assert stage.refreshes() <= 3
    stage.sign_in()
    with stage.ctx.reads() as db:
        assert db.get_one(SyncConfig, stage.config).paused_at is None
        assert not db.scalars(select(Alert).where(Alert.cleared_at.is_(None))).all()
    assert grants.token_of(stage.ctx, stage.id)


def test_new_keys_take_the_tokens_along(stage: Stage) -> None:
    stage.sign_in()
    before = stage.grant().tokens
    ring = KeyRing({"newer": b"n" * 32, **{key.id: key.secret for key in stage.ctx.settings.encryption_keys}})
    ctx = replace(stage.ctx, ring=ring)
    keys.rotate(ctx, by="ada@example.org")
    assert stage.grant().tokens != before
    assert ring.is_newest(stage.grant().tokens)
    assert grants.token_of(ctx, stage.id)


@pytest.mark.parametrize(
    "change",
    [
        {"state": ""},
        {"state": "wrong"},
        {"session": "another browser"},
    ],
)
def test_a_state_that_is_not_ours_is_refused_and_used_up(stage: Stage, change: dict[str, str]) -> None:
    back = stage.consent()
    mine = {"state": back["state"], "session": "browser"}
    with pytest.raises(WorkError, match="Begin it again"):
        signing_in.finish(stage.ctx, **(mine | change), **ADA, code=back["code"])
    if "session" in change:
        with pytest.raises(WorkError, match="Begin it again"):
            signing_in.finish(stage.ctx, **mine, **ADA, code=back["code"])
    with stage.ctx.reads() as db:
        assert db.get(Grant, stage.id) is None


def test_a_state_is_good_once_and_for_ten_minutes(stage: Stage) -> None:
    back = stage.consent()
    again = {"state": back["state"], "session": "browser", "code": back["code"], **ADA}
    signing_in.finish(stage.ctx, **again)
    with pytest.raises(WorkError, match="used already"):
        signing_in.finish(stage.ctx, **again)
    late = stage.consent()
    stage.world.advance(601)
    with pytest.raises(WorkError, match="ten minutes"):
        signing_in.finish(stage.ctx, state=late["state"], session="browser", code=late["code"], **ADA)
    with stage.ctx.reads() as db:
        assert not db.scalars(select(Consent)).all()


def test_who_may_no_longer_connect_brings_nothing_back(stage: Stage) -> None:
    back = stage.consent()
    with stage.ctx.sessions.begin() as db:
        db.scalars(select(Membership)).one().role = "operator"
    with pytest.raises(WorkError, match="role in that workspace"):
        signing_in.finish(stage.ctx, state=back["state"], session="browser", code=back["code"], **ADA)
    with stage.ctx.reads() as db:
        assert db.get(Grant, stage.id) is None


def test_what_a_program_has_begun_ends_in_a_browser_of_its_person_alone(stage: Stage) -> None:
    back = stage.consent(session=signing_in.by_program("ada"))
    mine = {"state": back["state"], "session": "any browser", "code": back["code"]}
    with pytest.raises(WorkError, match="was not begun in this browser"):
        signing_in.finish(stage.ctx, **mine, user_id="eve", by="eve@example.org")
    back = stage.consent(session=signing_in.by_program("ada"))
    mine |= {"state": back["state"], "code": back["code"]}
    assert signing_in.finish(stage.ctx, **mine, **ADA) == stage.id


def test_who_signs_out_leaves_no_tokens_and_paused_syncs_that_a_new_sign_in_lets_go_on(stage: Stage) -> None:
    with pytest.raises(WrongState, match="Nobody is signed in"):
        grants.forget(stage.ctx, stage.id, by="ada@example.org")
    stage.sign_in()
    access = grants.token_of(stage.ctx, stage.id)
    grants.forget(stage.ctx, stage.id, by="ada@example.org")
    with pytest.raises(AuthError, match="has signed out"):
        grants.token_of(stage.ctx, stage.id)
    grant = stage.grant()
    text = stage.ctx.ring.decrypt(grant.tokens, grants.place_of(grant))
    assert json.loads(text) == {"access": "", "refresh": ""} and access not in text
    assert stage.world.config_row(stage.config).paused_at is not None
    naming.rename_connection(stage.ctx, stage.id, "another name", by="ada@example.org")
    stage.sign_in()
    assert stage.world.config_row(stage.config).paused_at is None
    assert grants.token_of(stage.ctx, stage.id)


def test_who_signs_out_is_forgotten_by_google_too(stage: Stage) -> None:
    stage.sign_in()
    access = grants.token_of(stage.ctx, stage.id)
    assert grants.forget(stage.ctx, stage.id, by="ada@example.org") == ""
    assert not stage.google.grants and access not in stage.google.tokens
    assert grants.forget(stage.ctx, stage.id, by="ada@example.org") == "", "twice does no harm"


def test_google_is_told_when_the_connection_is_deleted_and_not_while_it_is_in_use(stage: Stage) -> None:
    stage.sign_in()
    with pytest.raises(WrongState, match="is used by"):
        saving.delete_connection(stage.ctx, stage.id, by="ada")
    assert len(stage.google.grants) == 1
    saving.delete_config(stage.ctx, stage.config, by="ada")
    assert saving.delete_connection(stage.ctx, stage.id, by="ada") == ""
    assert not stage.google.grants


@pytest.mark.parametrize("fault", ["closed", "unavailable", "gateway", "too_many"])
def test_a_google_that_does_not_answer_keeps_nobody_from_signing_out(stage: Stage, fault: str) -> None:
    stage.sign_in()
    stage.google.faults.plan(fault)
    stays = grants.forget(stage.ctx, stage.id, by="ada@example.org")
    assert stays.startswith("Google could not be told, and keeps its permission: ")
    assert stays.endswith("Take Syncline out of the connected apps of person@example.org at Google.")
    with pytest.raises(AuthError, match="has signed out"):
        grants.token_of(stage.ctx, stage.id)
    with stage.ctx.reads() as db:
        event = db.scalars(select(AuditEvent).where(AuditEvent.action == "connection.signed_out")).one()
    assert event.detail["stays"] == stays


def test_a_permission_that_google_ended_itself_is_forgotten_already(stage: Stage) -> None:
    stage.sign_in()
    stage.google.grants.clear()
    stage.google.tokens.clear()
    assert grants.forget(stage.ctx, stage.id, by="ada@example.org") == ""


def test_a_connection_that_signs_out_does_not_end_another_one_of_the_same_account(stage: Stage) -> None:
    """Google ends all that a person has allowed us, whichever token it is told."""
    stage.sign_in()
    first = stage.id
    with stage.ctx.sessions.begin() as db:
        stage.id = db.get_one(SyncConfig, stage.config).left_connection_id
        beside = db.get_one(Connection, stage.id)
        beside.connector = "google_sheets"
        beside.options = {"spreadsheet": stage.book.id, "endpoint": stage.url}
    stage.sign_in()
    stays = grants.forget(stage.ctx, first, by="ada@example.org")
    assert "another connection here is signed in with the same account" in stays
    stage.runs_out()
    assert grants.token_of(stage.ctx, stage.id), "the other one still works"
    assert grants.forget(stage.ctx, stage.id, by="ada@example.org") == ""
    assert not stage.google.grants, "whoever leaves last ends it"


def test_a_renewal_that_is_under_way_brings_back_no_sign_in_that_was_ended(stage: Stage) -> None:
    stage.sign_in()
    known = grants._known(stage.ctx, stage.id)
    stage.google.faults.plan("unavailable")  # so that it still renews what we have forgotten
    grants.forget(stage.ctx, stage.id, by="ada@example.org")
    with pytest.raises(Unavailable):
        grants._renew(stage.ctx, known)
    assert stage.grant().ended_at is not None


def test_what_was_not_allowed_changes_nothing(stage: Stage) -> None:
    back = stage.consent(act="deny")
    mine = {"state": back["state"], "session": "browser", **ADA}
    with pytest.raises(WorkError, match="not allowed"):
        signing_in.finish(stage.ctx, **mine, error=back["error"])
    back = stage.consent(**{"scope:https://www.googleapis.com/auth/spreadsheets": "off"})
    mine["state"] = back["state"]
    with pytest.raises(WorkError, match="auth/spreadsheets is missing"):
        signing_in.finish(stage.ctx, **mine, code=back["code"])
    back = stage.consent()
    mine["state"] = back["state"]
    with pytest.raises(WorkError, match="another place"):
        signing_in.finish(stage.ctx, **mine, code=back["code"], issuer="https://evil.example.org")
    with stage.ctx.reads() as db:
        assert db.get(Grant, stage.id) is None


def test_an_installation_that_is_not_registered_says_so(stage: Stage) -> None:
    ctx = replace(stage.ctx, settings=replace(stage.ctx.settings, google_client_id=""))
    with pytest.raises(WorkError, match="GOOGLE_CLIENT_ID"):
        signing_in.begin(ctx, stage.id, bound_to="browser", redirect_uri=BACK)

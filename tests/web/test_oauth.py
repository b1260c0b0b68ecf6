"""Signing in to a system from the panel: through the consent page of a simulated provider, and back."""

from __future__ import annotations

import html
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from sqlalchemy import select

from connectors.base import Access
from connectors.signin import AIRTABLE, GOOGLE, SignIn
from models.connections import Connection
from models.grants import Grant
from models.sync_configs import SyncConfig
from simulators.airtable import Airtable
from simulators.base import serving
from simulators.google_sheets import GoogleSheets
from tasks.context import Context
from tasks.sides import connector_of
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.world import OWN, Clock, World, make_context

ID = f"{OWN}-crm"


@pytest.fixture
def ctx(tmp_path: Path, clock: Clock) -> Context:
    made = make_context(
        tmp_path, clock, allow_http=True,
        google_client_id="syncline", google_client_secret="simulated-secret",
        airtable_client_id="syncline", airtable_client_secret="simulated-secret",
    )  # fmt: skip
    return replace(made, access=Access(networks=(ip_network("127.0.0.0/8"),), allow_http=True))


@pytest.fixture
def google(world: World) -> Iterator[GoogleSheets]:
    found = GoogleSheets(now=lambda: datetime.now(UTC), rand=random.Random(9).random)
    found.add_client("syncline", "simulated-secret")
    with serving(found) as url:
        leads_to(world, "google_sheets", {"spreadsheet": "x", "endpoint": url})
        yield found


@pytest.fixture
def airtable(world: World) -> Iterator[Airtable]:
    found = Airtable(now=lambda: datetime.now(UTC), rand=random.Random(9).random)
    found.add_client("syncline", "simulated-secret")
    found.add_base("Sales")
    with serving(found) as url:
        leads_to(world, "airtable", {"endpoint": url})
        yield found


def leads_to(world: World, connector: str, options: dict[str, str]) -> None:
    """The connection leads to this system."""
    world.config()
    with world.write() as db:
        row = db.get_one(Connection, ID)
        row.connector, row.options, row.secrets = connector, options, None


def consent(browser: Browser, act: str = "allow", sign_in: SignIn = GOOGLE) -> str:
    """Press the button, follow the link, agree; the address that the provider sends the browser back to."""
    assert f"Connect {sign_in.title}" in browser.text(f"/connections/{ID}")
    page = browser.post(f"/connections/{ID}/sign-in").text
    found = re.search(rf'href="(http://127\.0\.0\.1:\d+{re.escape(sign_in.authorize[1])}\?[^"]+)"', page)
    assert found, page[:3000]
    url = html.unescape(found[1])
    asked = dict(parse_qsl(urlsplit(url).query))
    assert asked["redirect_uri"].endswith("/oauth/callback")
    assert asked["code_challenge_method"] == "S256"
    assert set(sign_in.parameters.items()) <= set(asked.items())
    button = {"act": act, "answer": "grant" if act == "allow" else act}  # as either page calls it
    back = requests.post(url.partition("?")[0], data={**asked, **button}, allow_redirects=False, timeout=20)
    parts = urlsplit(back.headers["location"])
    return f"{parts.path}?{parts.query}"


def test_an_administrator_connects_google(alice: Browser, google: GoogleSheets, world: World) -> None:
    back = consent(alice)
    answer = alice.get(back)
    assert answer.status_code == 303
    page = alice.text(answer.location)
    assert "Signed in as person@example.org" in page
    assert "Reconnect Google" in page
    assert not any(token in page for token in (*google.tokens, *google.grants))
    with world.ctx.reads() as db:
        assert db.get_one(Grant, ID).account == "person@example.org"
    assert "used already" in alice.text(alice.get(back).location)  # a second time


def test_an_administrator_connects_airtable(alice: Browser, airtable: Airtable, world: World) -> None:
    answer = alice.get(consent(alice, sign_in=AIRTABLE))
    assert answer.status_code == 303
    page = alice.text(answer.location)
    assert "Signed in as usrSimulated00001" in page
    assert "Reconnect Airtable" in page
    secrets = [*airtable.tokens, *(token.refresh for token in airtable.tokens.values())]
    assert secrets and not any(secret in page for secret in secrets if secret)
    with world.ctx.reads() as db:
        connection = db.get_one(Connection, ID)
    with connector_of(world.ctx, connection) as connector:
        assert connector.check() == "Airtable answers; 1 base can be reached."


def test_who_does_not_allow_airtable_is_told_and_nothing_changes(
    alice: Browser, airtable: Airtable, world: World
) -> None:
    answer = alice.get(consent(alice, act="deny", sign_in=AIRTABLE))
    assert "Airtable says that it was not allowed" in alice.text(answer.location)
    with world.ctx.reads() as db:
        assert db.get(Grant, ID) is None


def test_who_signs_out_of_airtable_is_told_what_stays_there(
    alice: Browser, airtable: Airtable, world: World
) -> None:
    alice.get(consent(alice, sign_in=AIRTABLE))
    page = alice.text(alice.post(f"/connections/{ID}/sign-out").location)
    assert "Signed out." in page
    assert "Airtable names no way to take its permission back from here." in page


def test_a_way_back_from_another_browser_is_refused(
    alice: Browser, charlie: Browser, google: GoogleSheets, world: World
) -> None:
    back = consent(alice)
    assert "was not begun in this browser" in charlie.text(charlie.get(back).location)
    with world.ctx.reads() as db:
        assert db.get(Grant, ID) is None


def test_who_does_not_allow_it_is_told_and_nothing_changes(
    alice: Browser, google: GoogleSheets, world: World
) -> None:
    answer = alice.get(consent(alice, act="deny"))
    assert "not allowed" in alice.text(answer.location)
    with world.ctx.reads() as db:
        assert db.get(Grant, ID) is None


def test_only_administrators_may(bob: Browser, google: GoogleSheets) -> None:
    assert "Connect Google" not in bob.text(f"/connections/{ID}")
    assert bob.post(f"/connections/{ID}/sign-in").status_code == 403
    assert bob.get("/oauth/callback?state=x&code=y").status_code == 403


def test_an_ended_sign_in_is_shown_with_the_way_out(
    alice: Browser, google: GoogleSheets, world: World
) -> None:
    alice.get(consent(alice))
    with world.write() as db:
        grant = db.get_one(Grant, ID)
        grant.ended_at, grant.ended_because = world.clock.now, "The sign-in of 'crm' has ended."
    page = alice.text(f"/connections/{ID}")
    assert "The sign-in of 'crm' has ended." in html.unescape(page)
    assert "Reconnect Google" in page


def test_a_program_begins_a_sign_in_that_its_person_ends_in_a_browser(
    alice: Browser, charlie: Browser, caller: Callable[..., Caller], google: GoogleSheets, world: World
) -> None:
    ada = caller("alice")
    path = f"/connections/{ID}/sign-in"
    before = ada.json(path)
    assert (before["state"], before["registered"], before["provider"]) == ("none", True, "google")
    assert ada.delete(path).status_code == 409

    def back() -> str:
        url = ada.post(path).json["url"]  # type: ignore[index]
        asked = {**dict(parse_qsl(urlsplit(url).query)), "act": "allow"}
        sent = requests.post(url.partition("?")[0], data=asked, allow_redirects=False, timeout=20)
        parts = urlsplit(sent.headers["location"])
        return f"{parts.path}?{parts.query}"

    assert "was not begun in this browser" in charlie.text(charlie.get(back()).location)
    assert ada.json(path)["state"] == "none"
    assert "Signed in as" in alice.text(alice.get(back()).location)
    told = ada.json(path)
    assert (told["state"], told["account"]) == ("signed_in", "person@example.org")
    assert not any(token in str(told) for token in (*google.tokens, *google.grants))
    assert caller("vera").json(path) == told
    for who in ("bob", "vera"):
        assert caller(who).post(path).status_code == caller(who).delete(path).status_code == 403
    assert caller("charlie").get(path).status_code == 404
    assert ada.delete(path).status_code == 204
    assert ada.json(path)["state"] == "ended"
    assert ada.get(f"/connections/{OWN}-sheets/sign-in").status_code == 404, "one does not sign in to a file"


def test_the_panel_signs_out(alice: Browser, bob: Browser, google: GoogleSheets, world: World) -> None:
    alice.get(consent(alice))
    assert bob.post(f"/connections/{ID}/sign-out").status_code == 403
    assert "Sign out" in alice.text(f"/connections/{ID}")
    assert alice.post(f"/connections/{ID}/sign-out").status_code == 303
    assert "has signed out" in alice.text(f"/connections/{ID}")
    assert not google.grants, "Google has forgotten it too"
    with world.ctx.reads() as db:
        assert db.scalars(select(SyncConfig.paused_at)).one() is not None

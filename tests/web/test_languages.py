"""The panel speaks the language that a person chose or that their browser asks for."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from flask import Flask

from models.sync_runs import RunState
from sync.schedule import read_schedule
from tests.web.browser import Browser
from tests.web.world import NOW, World, summary
from web import cadence
from web.languages import in_proof


def test_english_is_what_everybody_gets_who_asks_for_nothing_else(alice: Browser) -> None:
    for wanted in ("", "en-GB,en;q=0.9", "tlh", "*", "nonsense;;q=x"):
        response = alice.get("/", Accept_Language=wanted)
        assert '<html lang="en"' in response.text
        assert response.headers["Content-Language"] == "en"


def test_the_browsers_language_is_taken_where_there_is_one(alice: Browser) -> None:
    response = alice.get("/configs", Accept_Language="tlh, en-XA;q=0.8, en;q=0.5")
    assert '<html lang="en-XA"' in response.text
    assert in_proof("Syncs") in response.text
    assert "Accept-Language" in response.headers["Vary"]


def test_a_chosen_language_stays_until_it_is_given_back(alice: Browser) -> None:
    assert alice.post("/preferences/language", language="en-XA", back="/account").location == "/account"
    assert '<html lang="en-XA"' in alice.text("/")
    alice.post("/preferences/language", language="")
    assert '<html lang="en"' in alice.text("/")
    assert alice.post("/preferences/language", language="tlh").status_code == 400


def test_a_choice_goes_before_what_the_browser_asks_for(alice: Browser) -> None:
    alice.post("/preferences/language", language="en")
    assert '<html lang="en"' in alice.get("/", Accept_Language="en-XA").text


def test_the_sign_in_page_speaks_it_too(stranger: Browser) -> None:
    assert in_proof("Password") in stranger.get("/sign-in", Accept_Language="en-XA").text


def test_a_region_in_another_language_is_another_region(alice: Browser, world: World) -> None:
    world.run(world.config())
    for path in ("/", "/configs", "/runs", "/queue"):
        english = alice.get(path, HX_Request="true")
        other = alice.get(
            path, HX_Request="true", Accept_Language="en-XA", If_None_Match=english.headers["ETag"]
        )
        assert (other.status_code, other.headers["ETag"] != english.headers["ETag"]) == (200, True)


def test_programs_are_answered_in_english(alice: Browser) -> None:
    answer = alice.get("/api/v1/nothing", Accept_Language="en-XA").get_json()
    assert answer["title"] == "There is nothing here"


def test_the_proof_keeps_named_places_and_tags() -> None:
    assert in_proof("<b>%(n)s</b> of 100 %%") == "⟦<b>%(n)s</b> óóf 100 %%⟧"


def german(who: Browser, path: str) -> str:
    response = who.get(path, Accept_Language="de-CH, de;q=0.9, en;q=0.5")
    assert response.headers["Content-Language"] == "de", path
    return " ".join(re.sub(r"<[^>]+>", " ", unescape(response.text)).split())


def test_the_panel_speaks_german(alice: Browser, world: World) -> None:
    config = world.config()
    world.run(config, RunState.FAILED, error="No answer.", error_code="unavailable")
    assert "1 Sync braucht Sie" in german(alice, "/") and "Fehlgeschlagen" in german(alice, "/runs")
    alice.post("/preferences/language", language="de")
    assert "Übersicht" in alice.words("/")


def test_numbers_and_times_follow_the_language(alice: Browser, world: World) -> None:
    config = world.config()
    run = world.run(
        config, summary=summary(left={"read": 12345}), minutes=3 * 24 * 60, started_at=NOW - timedelta(days=3)
    )
    page = german(alice, f"/runs/{run}")
    assert "12.345" in page and "Fr., 20. Nov. 2026, 14:05:30 UTC" in page
    assert "vor 3 Tagen" in german(alice, "/runs")
    world.call(run, size=38_412, ms=1234)
    assert "38,4 kB" in german(alice, f"/runs/{run}/calls")


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("* * * * *", "Jede Minute"),
        ("*/5 * * * *", "Alle 5 Minuten"),
        ("0 * * * *", "Jede Stunde, zur Minute 0"),
        ("15 */6 * * *", "Alle 6 Stunden, zur Minute 15, Zeitzone Europe/Berlin"),
        ("30 2 * * *", "Jeden Tag um 02:30, Zeitzone Europe/Berlin"),
        ("0 6,18 * * 1-5", "Von Montag bis Freitag um 06:00 und 18:00, Zeitzone Europe/Berlin"),
        ("0 6 * * 0", "Jeden Sonntag um 06:00, Zeitzone Europe/Berlin"),
        ("0 6 1 * *", "Am 1. jedes Monats um 06:00, Zeitzone Europe/Berlin"),
        ("0 6 24 12 *", "Am 24. Dezember um 06:00, Zeitzone Europe/Berlin"),
        ("*/7 3-5 * * *", "Wie */7 3-5 * * * es sagt, Zeitzone Europe/Berlin"),
    ],
)
def test_a_schedule_is_told_in_the_language(app: Flask, cron: str, said: str) -> None:
    with app.test_request_context(headers={"Accept-Language": "de"}):
        assert cadence.said(read_schedule(cron, "Europe/Berlin")) == said
    with app.test_request_context():
        assert (
            cadence.said(read_schedule(cron, "Europe/Berlin")) == read_schedule(cron, "Europe/Berlin").words()
        )

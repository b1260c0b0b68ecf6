"""The panel speaks the language that a person chose or that their browser asks for."""

from __future__ import annotations

from tests.web.browser import Browser
from tests.web.world import World
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

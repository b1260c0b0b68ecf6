"""In the proof language every text stands in brackets, and longer words than English has fit too."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import Open
from tests.browser.screenshots import paths, sign_in
from tests.browser.stage import Stage
from tests.catalogue import extracted
from web.languages import ENGLISH, LANGUAGES, PROOF

pytestmark = pytest.mark.browser

# Names that are a text of ours elsewhere: fields of the staged streams, and the product itself.
_NAMES = {"E-mail", "Name", "Syncline"}
# Texts of pages, but for what shows the outside's own words: values, code, times, logs, messages.
_TEXTS = """() => {
  const own = "style, code, pre, textarea, blockquote, time, .mono, [lang]:not(html), td, th, dd, .log";
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim();
    if (text && !walk.currentNode.parentElement.closest(own)) found.push(text);
  }
  return found;
}"""
_IS_TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
# A word of a heading, a button, a tab or a badge that is broken in its middle, or that stands out of its box.
_BROKEN = """() => [...document.querySelectorAll("h1, h2, .button, .badge-state, .tabs a, .nav-list a")]
  .filter((item) => item.offsetParent && !item.closest(".visually-hidden")
    && item.scrollWidth > item.clientWidth + 1 && item.clientWidth > 0
    && !["inline", "contents"].includes(getComputedStyle(item).display))
  .map((item) => item.textContent.trim())"""


def test_no_text_of_the_panel_is_left_in_english(gallery: tuple[str, Stage], open_page: Open) -> None:
    address, stage = gallery
    page = open_page(address, allowed=(404,), viewport={"width": 1280, "height": 844})
    ours = {text for message in extracted() if isinstance(text := message.id, str) and text}
    sign_in(page, address)
    page.set_extra_http_headers({"Accept-Language": PROOF})
    for name, path in paths(stage).items():
        page.goto(path)
        assert page.locator("html").get_attribute("lang") == PROOF
        shown = page.evaluate(_TEXTS)
        assert any(text.startswith("⟦") for text in shown), name
        assert [text for text in shown if text in ours - _NAMES] == [], name


@pytest.mark.parametrize("language", [PROOF, *sorted(set(LANGUAGES) - {ENGLISH})])
@pytest.mark.parametrize("width", [390, 640])  # a phone; 1280 at twice the size
def test_long_words_fit(gallery: tuple[str, Stage], open_page: Open, width: int, language: str) -> None:
    address, stage = gallery
    page = open_page(address, allowed=(404,), viewport={"width": width, "height": 430})
    sign_in(page, address)
    page.set_extra_http_headers({"Accept-Language": language})
    wide = []
    for name, path in paths(stage).items():
        page.goto(path)
        assert page.locator("html").get_attribute("lang") == language
        if page.evaluate(_IS_TOO_WIDE):
            wide.append(name)
        wide += [f"{name}: {text}" for text in page.evaluate(_BROKEN)]
    assert wide == []


def test_a_language_is_chosen_without_a_script(gallery: tuple[str, Stage], open_page: Open) -> None:
    address, _ = gallery
    page = open_page(address, java_script_enabled=False)
    sign_in(page, address)
    page.set_extra_http_headers({"Accept-Language": PROOF})
    page.goto("/account")
    page.locator("#language").select_option("en")
    page.locator("form", has=page.locator("#language")).get_by_role("button").click()
    page.wait_for_url("**/account")
    assert re.search(r"\bLanguage of the panel\b", page.content())
    assert page.locator("html").get_attribute("lang") == "en"

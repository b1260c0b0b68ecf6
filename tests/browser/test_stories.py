"""What people come for, clicked through: with a mouse, with keys alone, and without JavaScript."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from models.sync_runs import RunState, SyncRun
from tasks import people
from tests.browser.conftest import Open
from tests.browser.screenshots import sign_in
from tests.browser.stage import PASSWORD, Stage
from tests.browser.test_every_page import serious
from tests.web.world import summary

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("javascript", [True, False])
def test_from_the_desk_to_a_run_and_back(
    theatre: tuple[str, Stage], open_page: Open, javascript: bool
) -> None:
    address, stage = theatre
    page = open_page(address, java_script_enabled=javascript)
    page.goto(people.one_time_sign_in(stage.ctx, "bob@example.com"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("syncs need you")

    page.get_by_role("navigation", name="Main").get_by_role("link", name="Syncs").click()
    page.get_by_role("link", name="customers", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("customers")

    page.get_by_role("button", name="Run now").click()
    expect(page).to_have_url(re.compile(r"/runs/id-"))
    expect(page.get_by_text("It waits for a free worker.")).to_be_visible()
    page.locator("summary", has_text="Cancel").click()
    page.get_by_label("Why?").fill("Not now")
    page.get_by_role("button", name="Take it out of the queue").click()
    expect(page.get_by_text("Cancelled. Nothing was written.")).to_be_visible()

    page.get_by_role("link", name="customers").first.click()
    page.locator("summary", has_text="Pause").click()
    page.get_by_label("Why is it paused?").fill("The CRM moves tonight")
    page.get_by_role("button", name="Pause customers").click()
    expect(page.get_by_text("“The CRM moves tonight”").first).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("runs again by its schedule")).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False])
def test_a_failed_run_is_found_and_tried_again(
    theatre: tuple[str, Stage], open_page: Open, javascript: bool
) -> None:
    address, _stage = theatre
    page = open_page(address, java_script_enabled=javascript)
    sign_in(page, address, "bob")
    page.get_by_role("link", name="orders to warehouse").first.click()
    page.get_by_role("link", name="See the run").click()
    expect(page.get_by_text("The system refuses these values")).to_be_visible()
    page.get_by_role("link", name="Refused 7").click()
    expect(page.get_by_role("rowheader", name="ORD-2041")).to_be_visible()
    page.get_by_role("button", name="Retry failed records").click()
    expect(page.get_by_text("This run tries")).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False])
def test_a_preview_is_looked_at_and_carried_out(
    theatre: tuple[str, Stage], open_page: Open, javascript: bool
) -> None:
    address, stage = theatre
    page = open_page(address, java_script_enabled=javascript)
    sign_in(page, address, "bob")
    page.goto(f"{address}/runs/{stage.preview}")
    table = page.get_by_role("region", name="Changes")
    expect(table.get_by_text("14 days net")).to_be_visible()
    page.get_by_role("link", name="Would be held 2").click()
    expect(page.get_by_role("rowheader", name="Nordholz AG")).to_be_visible()
    expect(page.get_by_role("rowheader", name="Ada Foundry")).to_have_count(0)
    page.get_by_role("button", name="Carry out just this").click()
    expect(page.get_by_text("This run carries out")).to_be_visible()
    page.get_by_role("link", name="the preview of").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Preview of suppliers")


def test_with_keys_alone(theatre: tuple[str, Stage], open_page: Open) -> None:
    address, stage = theatre
    page = open_page(address)
    page.goto("/sign-in")
    page.keyboard.type("bob@example.com")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/")
    page.goto(f"/configs/{stage.customers}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    pause = page.locator("summary", has_text="Pause")
    for _ in range(12):
        page.keyboard.press("Tab")
        if pause.evaluate("item => item === document.activeElement"):
            break
    expect(pause).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Why is it paused?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Why is it paused?")).to_be_hidden()
    expect(pause).to_be_focused()
    page.goto("/configs")
    page.keyboard.press("/")
    expect(page.get_by_label("Name of a sync")).to_be_focused()


def test_single_keys_lead_through_a_list(theatre: tuple[str, Stage], open_page: Open) -> None:
    address, _stage = theatre
    page = open_page(address)
    press = page.keyboard.press
    sign_in(page, address, "bob")
    page.goto("/conflicts")
    links = page.locator(".list tbody a.cover")
    press("j")
    expect(links.nth(0)).to_be_focused()
    press("j")
    press("x")
    ticks = page.locator(".list tbody input[type=checkbox]")
    expect(ticks.nth(1)).to_be_checked()
    expect(links.nth(1)).to_be_focused()
    press("x")
    expect(ticks.nth(1)).not_to_be_checked()
    press("k")
    press("k")
    expect(links.nth(0)).to_be_focused()
    press("Control+j")
    expect(links.nth(0)).to_be_focused()

    press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    assert serious(page) == []
    press("j")
    press("Escape")
    expect(dialog).to_be_hidden()
    expect(links.nth(0)).to_be_focused()
    press("Enter")
    expect(page).to_have_url(re.compile(r"/conflicts/\d+"))

    page.goto("/issues")
    press("j")
    press("r")
    expect(page.get_by_role("button", name="Retry 7 records")).to_be_focused()
    page.get_by_label("Text").focus()
    page.keyboard.type("jxr?/")
    expect(page.get_by_label("Text")).to_have_value("jxr?/")
    expect(dialog).to_be_hidden()

    shown = page.get_by_role("button", name="Keyboard shortcuts")
    page.goto("/conflicts")
    shown.click()
    dialog.get_by_role("button", name="Switch off").click()
    expect(page.locator("dialog[data-on]")).to_have_count(0)
    expect(shown).to_be_visible()
    for key in ("j", "/", "?"):
        press(key)
    expect(page.locator("body")).to_be_focused()
    expect(dialog).to_be_hidden()
    shown.click()
    dialog.get_by_role("button", name="Switch on").click()
    expect(page.locator("dialog[data-on]")).to_have_count(1)
    expect(shown).to_be_visible()
    press("j")
    expect(links.nth(0)).to_be_focused()


def test_without_javascript_no_keys_are_promised(gallery: tuple[str, Stage], open_page: Open) -> None:
    address, _stage = gallery
    page = open_page(address, java_script_enabled=False)
    sign_in(page, address)
    assert "Keyboard shortcuts" not in page.inner_text("body")


def progress(stage: Stage, done: int) -> None:
    with stage.write() as db:
        db.get_one(SyncRun, stage.running).done = done


def test_a_running_run_moves_by_itself(theatre: tuple[str, Stage], open_page: Open) -> None:
    address, stage = theatre
    page = open_page(address)
    sign_in(page, address)
    page.goto(f"/runs/{stage.running}")
    expect(page.get_by_text("41,200 of 64,000")).to_be_visible()
    progress(stage, 50_000)
    expect(page.get_by_text("50,000 of 64,000")).to_be_visible(timeout=10_000)
    with stage.write() as db:
        run = db.get_one(SyncRun, stage.running)
        run.state, run.finished_at, run.summary = RunState.SUCCESS, stage.clock.now, summary()
    expect(page.get_by_text("Success").first).to_be_visible(timeout=10_000)
    expect(page.locator("progress")).to_have_count(0)


def test_what_one_is_doing_is_never_taken_away(theatre: tuple[str, Stage], open_page: Open) -> None:
    address, stage = theatre
    page = open_page(address)
    sign_in(page, address)
    page.goto(f"/runs/{stage.running}")
    page.locator("summary", has_text="Cancel").click()
    page.get_by_label("Why?").fill("Half a sent")
    progress(stage, 50_000)
    expect(page.get_by_text("There is something new.")).to_be_visible(timeout=10_000)
    expect(page.get_by_label("Why?")).to_have_value("Half a sent")
    expect(page.get_by_label("Why?")).to_be_focused()
    expect(page.get_by_text("41,200 of 64,000")).to_be_visible()
    page.get_by_role("button", name="Show it").click()
    expect(page.get_by_text("50,000 of 64,000")).to_be_visible(timeout=10_000)
    expect(page.get_by_text("There is something new.")).to_be_hidden()


def test_open_folds_stay_open(theatre: tuple[str, Stage], open_page: Open) -> None:
    address, stage = theatre
    page = open_page(address)
    sign_in(page, address)
    page.get_by_text("As a table").click()
    expect(page.get_by_role("columnheader", name="Hour")).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    stage.run(stage.customers, RunState.FAILED, error="A new failure.")
    expect(page.get_by_text("A new failure.").first).to_be_visible(timeout=10_000)
    expect(page.get_by_role("columnheader", name="Hour")).to_be_visible()


def test_unchanged_regions_cost_nothing(theatre: tuple[str, Stage], open_page: Open) -> None:
    address, _stage = theatre
    page = open_page(address)
    sign_in(page, address)
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status))
    page.goto("/runs")
    statuses.clear()
    page.wait_for_timeout(8_000)  # the stage has a running sync, so the list is asked for each 3 s
    assert 304 in statuses
    assert statuses.count(200) <= 2, "the first poll of each region brings its tag, the others nothing"


def test_a_page_that_stays_open_says_that_one_is_signed_out(
    theatre: tuple[str, Stage], open_page: Open
) -> None:
    address, stage = theatre
    page = open_page(address, allowed=(401,))
    sign_in(page, address)
    people.end_sessions_of(stage.ctx, "user-alice")
    expect(page.get_by_text("You are signed out.")).to_be_visible(timeout=10_000)
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_times_are_ones_own(gallery: tuple[str, Stage], open_page: Open) -> None:
    address, stage = gallery
    page = open_page(address, timezone_id="America/New_York")
    sign_in(page, address)
    expect(page.get_by_text("today 09:05, America/New_York time")).to_be_visible()
    page.goto(f"/runs/{stage.latest}")
    expect(page.get_by_text("09:04:27 EST")).to_be_visible()


def test_a_long_value_unfolds(gallery: tuple[str, Stage], open_page: Open) -> None:
    address, stage = gallery
    page = open_page(address)
    sign_in(page, address)
    page.goto(f"/runs/{stage.latest}")
    whole = page.get_by_text("A very long name, " * 19)
    expect(whole).to_be_hidden()
    page.get_by_text("show all").click()
    expect(whole.last).to_be_visible()


def test_long_words_do_not_break_the_page(theatre: tuple[str, Stage], open_page: Open) -> None:
    address, stage = theatre
    stage.renamed(stage.customers, "Kundenstammdatenabgleichsverfahrensübersichtsliste " * 3)
    page = open_page(address, viewport={"width": 390, "height": 844})
    sign_in(page, address)
    for path in ("/", "/configs", f"/configs/{stage.customers}", "/runs", f"/runs/{stage.latest}"):
        page.goto(path)
        assert _fits(page), path


def _fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@pytest.mark.parametrize("javascript", [True, False])
def test_a_bulk_retry_is_planned_started_and_taken_back(
    theatre: tuple[str, Stage], open_page: Open, javascript: bool
) -> None:
    address, _stage = theatre
    page = open_page(address, java_script_enabled=javascript)
    sign_in(page, address, "bob")
    page.goto("/issues")
    page.get_by_label("Cause").select_option(label="The system refuses these values")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("button", name="Plan a retry of 7").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 7 records")
    page.locator("summary", has_text="7 records").click()
    expect(page.get_by_role("link", name="ORD-2041")).to_be_visible()
    page.get_by_label("Why?").fill("The column takes decimals now")
    page.get_by_role("button", name="Try one, then the other 6").click()
    expect(page.get_by_text("Can be taken back", exact=True)).to_be_visible()
    page.get_by_role("button", name="Take it back").click()
    expect(page.get_by_text("Taken back. Nothing of it was done.")).to_be_visible()

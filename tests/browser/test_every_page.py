"""Every page, both themes, phone and desk: nothing that axe calls serious, nothing cut off."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Open
from tests.browser.screenshots import look_at, paths, sign_in
from tests.browser.stage import Stage

pytestmark = pytest.mark.browser

NAMES = [
    "desk", "syncs", "sync", "runs", "run", "run-partial", "run-failed", "run-running", "preview", "calls",
    "conflicts", "conflict", "conflict-plan", "held", "held-plan", "issues", "issue", "bulk-plan", "bulk",
    "records", "record", "schedules", "queue", "connections", "connection", "connection-choose",
    "connection-new", "draft-new", "draft-streams", "draft-fields", "draft-rules", "draft-schedule",
    "draft-review", "audit", "people", "settings", "account", "not-found", "empty",
]  # fmt: skip


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {node['target']} {node['failureSummary']}"
        for item in found
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]


def test_the_list_of_pages_is_whole(gallery: tuple[str, Stage]) -> None:
    assert list(paths(gallery[1])) == NAMES


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_are_accessible_and_fit(
    gallery: tuple[str, Stage], open_page: Open, theme: str, width: int
) -> None:
    address, stage = gallery
    page = open_page(address, allowed=(404,), color_scheme=theme, viewport={"width": width, "height": 844})
    page.goto("/sign-in")
    problems = {"sign-in": serious(page)}
    sign_in(page, address)
    for name, path in paths(stage).items():
        page.goto(path)
        problems[name] = serious(page)
        if name == "calls":
            look_at(page, address, name, path)
            assert page.locator("pre.code").count(), "what they carried is shown"
            problems[name] += serious(page)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            problems[name].append("it is wider than the screen")
    assert {name: found for name, found in problems.items() if found} == {}


def test_a_chosen_theme_looks_like_the_systems(gallery: tuple[str, Stage], open_page: Open) -> None:
    """Dark by choice on a light system is as accessible as dark by the system."""
    address, stage = gallery
    page = open_page(address, color_scheme="light")
    sign_in(page, address)
    page.locator("summary", has_text="Account and theme").click()
    page.get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    for path in (f"/runs/{stage.partial}", "/runs", f"/configs/{stage.customers}"):
        page.goto(path)
        assert serious(page) == []


@pytest.mark.parametrize("name", ["desk", "syncs", "sync", "run-partial", "conflict"])
def test_nothing_is_cut_off_at_twice_the_size(gallery: tuple[str, Stage], open_page: Open, name: str) -> None:
    address, stage = gallery
    page = open_page(address, viewport={"width": 640, "height": 430})
    sign_in(page, address)
    page.goto(paths(stage)[name])
    assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def test_the_sides_of_a_conflict_stand_next_to_each_other(
    gallery: tuple[str, Stage], open_page: Open
) -> None:
    address, stage = gallery
    page = open_page(address, viewport={"width": 1280, "height": 860})
    sign_in(page, address)
    page.goto(paths(stage)["conflict"])
    whole = page.locator("fieldset").first.bounding_box()
    left, right = (
        page.locator("fieldset").first.locator("label.choice-side").nth(n).bounding_box() for n in (0, 1)
    )
    assert whole and left and right
    assert left["y"] == right["y"] and left["x"] < right["x"]
    assert left["width"] + right["width"] > whole["width"] - 10, "they share the whole width"


def test_open_menus_are_accessible_and_on_the_screen(gallery: tuple[str, Stage], open_page: Open) -> None:
    address, stage = gallery
    for width in (390, 1280):
        page = open_page(address, viewport={"width": width, "height": 844})
        sign_in(page, address)
        for path, menus in (
            (f"/configs/{stage.customers}", ["Other ways to run", "Pause", "Account and theme"]),
            (f"/runs/{stage.running}", ["Cancel"]),
        ):
            for menu in menus:
                page.goto(path)
                named = page.locator(f"summary[aria-label='{menu}']")
                page.locator("summary", has_text=menu).or_(named).click()
                assert serious(page) == [], (width, menu)
                box = page.locator(".drop-box:visible, .menu-box:visible").bounding_box()
                assert box is not None
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width, (width, menu)


def test_the_tab_tells_how_much_waits(gallery: tuple[str, Stage], open_page: Open) -> None:
    address, _stage = gallery
    page = open_page(address)
    sign_in(page, address)
    page.wait_for_function("document.title.startsWith('(')")
    assert page.title() == "(15) Desk · Syncline"

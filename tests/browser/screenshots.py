"""Pictures of the main pages: `python -m tests.browser.screenshots [FOLDER]`.

Without a folder it renews the pictures of the README and of docs/panel.md, in both themes. With one it takes
every page in both themes and at two widths, to look at.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page

from tests.browser.chromium import launched
from tests.browser.palette import small
from tests.browser.stage import PASSWORD, Stage, served

STEPS = ("streams", "fields", "rules", "schedule", "review")
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
# The pages that the documents show, by their names in `paths`.
SHOWN = ("desk", "sync", "run-partial", "calls", "preview", "issue", "bulk-plan", "conflict", "record")
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_COOKIES: dict[tuple[str, str], list[Any]] = {}
WIDTHS = {"wide": (1280, 860), "phone": (390, 844)}


def paths(stage: Stage) -> dict[str, str]:
    """Every page there is, with something in it."""
    return {
        "desk": "/",
        "syncs": "/configs",
        "sync": f"/configs/{stage.customers}",
        "runs": "/runs",
        "run": f"/runs/{stage.latest}",
        "run-partial": f"/runs/{stage.partial}",
        "run-failed": f"/runs/{stage.failed}",
        "run-running": f"/runs/{stage.running}",
        "preview": f"/runs/{stage.preview}",
        "calls": f"/runs/{stage.partial}/calls?call={stage.refused}",
        "conflicts": "/conflicts",
        "conflict": "/conflicts/2",
        "conflict-plan": "/conflicts/plan?take=left&id=2&id=3&id=4",
        "held": "/held",
        "held-plan": "/held/plan?" + urlencode(_held_group(stage)),
        "issues": "/issues",
        "issue": f"/issues/{stage.orders}/rejected",
        "bulk-plan": f"/bulk/{stage.bulk}",
        "bulk": "/bulk",
        "records": "/records?q=ORD-20",
        "record": f"/records/{stage.customers}?key=amelie.laurent@example.com",
        "schedules": "/schedules",
        "queue": "/queue",
        "connections": "/connections",
        "connection": "/connections/default-crm",
        "connection-choose": "/connections/new",
        "connection-new": "/connections/new/parse",
        "draft-new": "/drafts/new",
        **{f"draft-{step}": f"/drafts/{stage.draft}/{step}" for step in STEPS},
        "audit": "/audit",
        "people": "/people",
        "settings": "/settings",
        "account": "/account",
        "not-found": "/runs/nothing",
        "empty": "/runs?state=cancelled",
    }


def _held_group(stage: Stage) -> dict[str, str]:
    group = {"guard": "mass_delete", "side": "right", "operation": "delete"}
    return {"config": stage.suppliers, **group}


def sign_in(page: Page, address: str, name: str = "alice") -> None:
    """Come to the desk; by password the first time, by the cookie of that time later."""
    cookies = _COOKIES.get((address, name))
    if cookies is not None:
        page.context.add_cookies(cookies)
        page.goto(f"{address}/")
        return
    page.goto(f"{address}/sign-in")
    page.get_by_label("E-mail").fill(f"{name}@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{address}/")
    _COOKIES[address, name] = [cookie for cookie in page.context.cookies() if cookie["name"] == "syncline"]


def look_at(page: Page, address: str, name: str, path: str) -> None:
    """Go to a page; what calls carried is shown there, too."""
    page.goto(f"{address}{path}")
    if name == "calls" and (reveal := page.get_by_role("button", name="Show what they carried")).count():
        reveal.click()
        page.wait_for_url("**call=*")
        page.evaluate("scrollTo(0, 0)")


def shown(browser: Browser, address: str, stage: Stage, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        context = browser.new_context(
            viewport={"width": 1280, "height": 860}, color_scheme=theme, device_scale_factor=1.5
        )
        page = context.new_page()
        sign_in(page, address)
        for name in SHOWN:
            look_at(page, address, name, paths(stage)[name])
            (folder / f"{name}-{theme}.png").write_bytes(small(page.screenshot()))
        context.close()


def every(browser: Browser, address: str, stage: Stage, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for width, (x, y) in WIDTHS.items():
        for theme in THEMES:
            context = browser.new_context(viewport={"width": x, "height": y}, color_scheme=theme)
            page = context.new_page()
            page.goto(f"{address}/sign-in")
            page.screenshot(path=folder / f"{width}-{theme}-sign-in.png")
            sign_in(page, address)
            for name, path in paths(stage).items():
                look_at(page, address, name, path)
                page.screenshot(path=folder / f"{width}-{theme}-{name}.png", full_page=True)
            context.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as home, served(Path(home)) as (address, stage), launched() as browser:
        if len(sys.argv) > 1:
            every(browser, address, stage, Path(sys.argv[1]))
        else:
            shown(browser, address, stage, IMAGES)


if __name__ == "__main__":
    main()

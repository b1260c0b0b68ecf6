"""A real Chromium at a real server; what the page logs and asks for is kept and judged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

from tests.browser.chromium import CHROMIUM, launched
from tests.browser.stage import Stage, served

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        message = f"{CHROMIUM} is missing: install Debian's chromium to run the browser tests."
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Stage]]:
    """A panel that is only looked at: its address, and what is on the stage."""
    with served(tmp_path_factory.mktemp("gallery")) as found:
        yield found


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[tuple[str, Stage]]:
    """A panel of the test's own, in which it may act."""
    with served(tmp_path) as found:
        yield found


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """A page of a new browser. At the end nothing may have been logged or asked of another host.

    `allowed` are the statuses that the test provokes: Chromium and htmx log each 4xx as an error.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(address: str, *, allowed: tuple[int, ...] = (), **options: object) -> Page:
        context = chromium.new_context(base_url=address, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()

        def said(message: ConsoleMessage) -> None:
            provoked = any(
                f"status of {status}" in message.text or f"Code {status} " in message.text
                for status in allowed
            )
            if message.type in ("error", "warning") and not provoked:
                complaints.append(f"{message.type}: {message.text}")

        def asked(request: Request) -> None:
            if urlsplit(request.url).netloc != urlsplit(address).netloc and not request.url.startswith(
                "data:"
            ):
                complaints.append(f"asked {request.url}")

        page.on("console", said)
        page.on("request", asked)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []

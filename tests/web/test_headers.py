"""What every answer carries, and what no page may contain."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from flask import Flask, request

import web
from tasks.context import Context
from tests.web.browser import Browser
from tests.web.world import Clock, World, make_context
from web import create_app
from web.assets import ICONS
from web.words import CHANGE_STATES, RUN_STATES, SYNC_STATES

TEMPLATES = sorted((Path(web.__file__).parent / "templates").rglob("*.html"))
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize(
    "path", ["/", "/sign-in", "/nothing", "/api/health", "/configs/nothing", "/runs?state=x"]
)
def test_every_answer_carries_the_headers(alice: Browser, path: str) -> None:
    headers = alice.get(path).headers
    assert headers["Content-Security-Policy"] == CSP
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in headers


def https(tmp_path: Path) -> tuple[Flask, Context]:
    ctx = make_context(tmp_path, Clock(), public_url="https://sync.example.com", proxy_hops=1)
    World(ctx, Clock())
    return create_app(ctx), ctx


def test_by_https_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    app, _ = https(tmp_path)
    response = app.test_client().get("/sign-in", base_url="https://sync.example.com")
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-syncline=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "max-age=31536000" in response.headers["Strict-Transport-Security"]


def test_on_ones_own_machine_the_cookie_needs_no_https(app: Flask) -> None:
    cookie = app.test_client().get("/sign-in").headers["Set-Cookie"]
    assert cookie.startswith("syncline=")
    assert "HttpOnly" in cookie
    assert "Secure" not in cookie


def test_only_configured_proxies_are_believed(tmp_path: Path, app: Flask) -> None:
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "9.9.9.9"}
    (tmp_path / "two").mkdir()
    behind, _ = https(tmp_path / "two")
    for served, scheme, address in ((behind, "https", "9.9.9.9"), (app, "http", "127.0.0.1")):
        with served.test_client() as client:
            client.get("/sign-in", headers=forged)
            assert (request.scheme, request.remote_addr) == (scheme, address)


def test_the_files_are_kept_for_a_year_under_their_hash(alice: Browser) -> None:
    page = alice.text("/")
    found = set(re.findall(r'(?:href|src)="(/assets/[^"#]+)', page))
    assert {path.rsplit("/", 1)[1] for path in found} == {
        "bootstrap.css",
        "htmx.js",
        "icons.svg",
        "logo.svg",
        "panel.css",
        "panel.js",
    }
    for path in found:
        response = alice.get(path)
        assert "immutable" in response.headers["Cache-Control"]
        packed = alice.get(path, Accept_Encoding="gzip")
        assert gzip.decompress(packed.data) == response.data
        stale = alice.get(path.replace(path.split("/")[2], "0"))
        assert stale.data == response.data
        assert stale.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpanel.css", "bootstrap.min.css.map"])
def test_nothing_else_is_served(alice: Browser, name: str) -> None:
    assert alice.get(f"/assets/0/{name}").status_code == 404


def test_htmx_is_the_version_that_the_lock_names() -> None:
    from importlib.metadata import version
    from importlib.resources import files

    body = (files("js_lib_htmx") / "static" / "htmx" / "htmx.min.js").read_text()
    found = re.search(r'version:"([\d.]+)"', body)
    assert found is not None
    assert version("django-js-lib-htmx").startswith(found[1])


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_holds_script_or_style(template: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", template.read_text(), flags=re.DOTALL)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on", text)
    assert re.findall(r"<script(?! src=\"\{\{ asset)", text) == []
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", text)
    assert "|safe" not in text.replace(" ", "")


def test_every_icon_that_is_named_is_in_the_sprite() -> None:
    named = {
        name
        for template in TEMPLATES
        for name in re.findall(r'icon\("([a-z0-9-]+)"|empty\("([a-z0-9-]+)"', template.read_text())
        for name in name
        if name
    }
    badges = [*RUN_STATES.values(), *CHANGE_STATES.values(), *SYNC_STATES.values()]
    assert named | {badge.icon for badge in badges} <= set(ICONS)


def test_the_sprite_holds_no_icon_that_nobody_names() -> None:
    text = "".join(path.read_text() for path in TEMPLATES) + "".join(
        badge.icon + '"' for badge in [*RUN_STATES.values(), *CHANGE_STATES.values(), *SYNC_STATES.values()]
    )
    assert [name for name in ICONS if f'{name}"' not in text] == []

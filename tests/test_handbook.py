"""The connectors' page of the docs says what the connectors declare."""

from __future__ import annotations

from connectors import catalog, handbook


def test_the_page_is_up_to_date() -> None:
    assert handbook.PAGE.read_text(encoding="utf-8") == handbook.page(), "run: make docs"


def test_every_connector_has_its_chapter() -> None:
    text = handbook.page()
    assert all(f"## `{name}`" in text for name in catalog.names())

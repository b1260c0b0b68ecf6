"""The documents that people steer by name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("room", ["sync", "tasks", "connectors"])
def test_the_code_map_names_every_file_of_a_room(room: str) -> None:
    told = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in (ROOT / room).glob("*.py") if path.name != "__init__.py")
    assert [name for name in files if f"`{name}`" not in told] == []


def test_the_code_map_names_nothing_that_is_gone() -> None:
    told = re.findall(r"`([a-z_]+\.py)`", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    known = {
        path.name
        for room in ("sync", "tasks", "connectors", "models", "web")
        for path in (ROOT / room).rglob("*.py")
    }
    known |= {path.name for path in ROOT.glob("*.py")}
    assert sorted(set(told) - known) == []


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    folder = (ROOT / page).parent
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (folder / link).exists()] == []

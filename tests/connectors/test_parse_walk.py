"""The walk-through of docs/parse.md, run as it stands against a real Parse Server."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.parse_server import APPLICATION, MASTER, ParseServer

HOUSE = Path(__file__).resolve().parents[2]
PAGE = HOUSE / "docs" / "parse.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RESTART = "Start the Parse Server again"


def blocks() -> Iterator[tuple[str, str, str]]:
    """Each block of the page: the text before it, its kind and its content."""
    text, at = PAGE.read_text("utf-8"), 0
    for found in BLOCK.finditer(text):
        yield text[at : found.start()], found[1], found[2]
        at = found.end()


def agrees(expected: Any, found: Any) -> bool:
    """Whether everything that the page says stands in the answer."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            agrees(value, found.get(name)) for name, value in expected.items()
        )
    return bool(expected == found)


@pytest.mark.timeout(600)
def test_the_walk_through_says_what_happens(own_parse_server: ParseServer, tmp_path: Path) -> None:
    server, folder = own_parse_server, tmp_path / "walk"
    folder.mkdir()
    said = ""
    for before, kind, content in blocks():
        if RESTART in before:
            server.kill()
            server.start()
        match kind:
            case "yaml":
                name = content.partition("\n")[0].removeprefix("# ")
                (folder / name).write_text(content, encoding="utf-8")
            case "sh":
                said = shell(server, folder, content)
            case "json":
                answers = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
                assert any(agrees(json.loads(content), answer) for answer in answers), (content, said)
            case "text":
                assert content.strip() in said
    interrupted = json.loads((folder / "interrupted.json").read_text())
    assert interrupted["status"] != "success"
    assert_in_step(server, folder)


def assert_in_step(server: ParseServer, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "crm.db")) as crm:
        rows = crm.execute(
            "SELECT id, name, email, balance, since FROM customers WHERE NOT deleted"
        ).fetchall()
    objects = server.objects("Contacts")
    found = {
        item["number"]: (
            item["name"],
            item["email"],
            Decimal(str(item["balance"])),
            item["since"]["iso"][:10],
        )
        for item in objects
    }
    assert len(objects) == len(found) == 10_000
    assert found == {
        id: (name, email, Decimal(str(balance)), since) for id, name, email, balance, since in rows
    }
    assert {item["syncSource"] for item in objects} == {"crm"}
    assert {json.dumps(item["ACL"]) for item in objects} == {
        json.dumps({"role:Admin": {"read": True, "write": True}})
    }


def shell(server: ParseServer, folder: Path, commands: str) -> str:
    """What these commands print. Fails when one of them does."""
    assert server.process is not None
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PARSE_URL": server.url,
        "PARSE_APP": APPLICATION,
        "PARSE_MASTER_KEY": MASTER,
        "PARSE_PID": str(server.process.pid),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (commands, done.stdout[-3000:])
    assert MASTER not in done.stdout
    return done.stdout

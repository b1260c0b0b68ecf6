"""Every line of the walk-through in docs/api.md works, with curl, against a panel that listens."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from werkzeug.serving import make_server

from models.people import User
from tasks import questions, tokens
from tasks.people import DEFAULT_WORKSPACE
from tasks.rights import Capability
from tests.house import House
from web import create_app

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture
def listening(house: House) -> Iterator[tuple[str, str]]:
    """A panel on a port of its own, whose questions are answered at once; its address and a token."""
    ctx = house.ctx()
    ctx = replace(ctx, ask=lambda id: threading.Thread(target=questions.answer, args=(ctx, id)).start())
    with ctx.reads() as db:
        user = db.scalars(select(User.id)).one()
    made = tokens.make(ctx, user, DEFAULT_WORKSPACE, "docs", _scopes(), days=1, by="test")
    server = make_server("127.0.0.1", 0, create_app(ctx), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", made.token
    server.shutdown()
    thread.join()
    server.server_close()


def _scopes() -> list[Capability]:
    """Those that the page says the token needs."""
    said = re.search(r"with the\s+scopes (.*?):", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert said
    return [Capability(word) for word in re.findall(r"`(\w+)`", said[1])]


def test_every_line_of_the_walk_through_works(listening: tuple[str, str], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing: apt-get install curl")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) > 20
    address, token = listening
    done = subprocess.run(
        ["bash", "-eux", "-o", "pipefail"],
        input="\n".join(lines),
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "SYNCLINE": address, "TOKEN": token, "no_proxy": "*"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    for said in (
        '"capabilities"',
        '"streams"',
        '"kind":"preview"',
        '"paused_reason":"stock-taking"',
        "config.paused",
    ):
        assert said in done.stdout, said

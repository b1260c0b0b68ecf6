"""The demo of two services does what it says, by real processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demo.saas import SaasDemo
from tasks.redis_server import free_port


def test_edits_go_each_way_and_a_conflict_is_settled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = SaasDemo(tmp_path, {"PATH": os.environ["PATH"], "PORT": str(free_port())})

    demo.run(once=True)

    said = capsys.readouterr().out
    assert "The second run: success" in said
    assert "The third run: partial" in said
    assert "Each edit has reached the other side, and the conflict is settled." in said
    assert not [call for call in (*demo.airtable.calls, *demo.google.calls) if call.status >= 400]

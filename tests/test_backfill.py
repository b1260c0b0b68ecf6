"""A run over a stated range reads everything and writes only what was modified in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main

YAML = """
connections:
  here: {connector: csv, options: {folder: .}}
syncs:
  people:
    left: {connection: here, stream: left.csv, key: id}
    right: {connection: here, stream: right.csv, key: id}
    direction: left_to_right
    match: [id]
    MODIFIED
    fields:
      - {left: id, right: id}
      - {left: name, right: name}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "left.csv").write_text(
        "id,name,changed\n1,Ann,2026-01-05T10:00:00Z\n2,Bob,2026-03-05T10:00:00Z\n", encoding="utf-8"
    )
    (tmp_path / "right.csv").write_text("id,name,changed\n", encoding="utf-8")
    return tmp_path


def sync(folder: Path, modified: str, *options: str) -> tuple[int, dict[str, object]]:
    (folder / "s.yaml").write_text(YAML.replace("MODIFIED", modified), encoding="utf-8")
    applied = CliRunner().invoke(main, ["apply", "s.yaml"])
    assert applied.exit_code == 0, applied.output
    run = CliRunner().invoke(main, ["sync", "people", *options, "--json"])
    return run.exit_code, json.loads(run.stdout)


def test_only_records_modified_in_the_range_are_written(folder: Path) -> None:
    times = "modified: {left: changed, right: changed}"
    code, _ = sync(folder, times, "--since", "2026-02-01")
    assert code == 0
    assert (folder / "right.csv").read_text(encoding="utf-8") == "id,name,changed\n2,Bob,\n"


def test_an_ordinary_run_afterwards_writes_the_rest(folder: Path) -> None:
    times = "modified: {left: changed, right: changed}"
    sync(folder, times, "--since", "2026-02-01")
    code, summary = sync(folder, times)
    assert code == 0
    assert "1,Ann" in (folder / "right.csv").read_text(encoding="utf-8")
    assert summary["right"] == {"read": 1, "created": 1, "updated": 0, "deleted": 0}


def test_without_modified_times_the_refusal_says_what_is_missing(folder: Path) -> None:
    code, summary = sync(folder, "", "--since", "2026-02-01")
    assert code == 2
    assert "`modified`" in json.dumps(summary)
    assert (folder / "right.csv").read_text(encoding="utf-8") == "id,name,changed\n"


def test_a_time_that_is_none_is_a_mistake_in_the_call(folder: Path) -> None:
    (folder / "s.yaml").write_text(YAML.replace("MODIFIED", ""), encoding="utf-8")
    CliRunner().invoke(main, ["apply", "s.yaml"])
    run = CliRunner().invoke(main, ["sync", "people", "--since", "spring"])
    assert run.exit_code == 2
    assert "--since" in run.output

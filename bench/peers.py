"""dlt beside it, in its best documented mode: Arrow tables through `sql_database`, merged by key.

It is installed by the measurement alone, into a folder of its own, and is no dependency of anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bench.work as work

HOME = Path(__file__).resolve().parents[1] / "build" / "bench" / "dlt"
PACKAGES = (
    "dlt[postgres,sql_database,parquet]>=1.20",
    "sqlalchemy<2.1",
    "psycopg2-binary",
    "pyarrow",
    "numpy",
    "pandas",
)
SCRIPT = Path(__file__).with_name("dlt_pipeline.py")


def dlt(left: str, into: str, edit: Callable[[work.Edit], None]) -> Iterator[tuple[str, float, float]]:
    """(case, seconds, megabytes) of a first load, of a merge of everything, and of an incremental merge."""
    python = _installed()
    if python is None:
        return
    yield "first full load", *_measured(python, left, into, "replace")
    yield "nothing changed", *_measured(python, left, into, "merge")
    edit(work.Edit(0.01, work.START.replace(year=2028)))
    yield "1 % changed on each side", *_measured(python, left, into, "merge")
    _measured(python, left, into, "incremental")  # so that it has a cursor
    edit(work.Edit(0.01, work.START.replace(year=2029)))
    yield "incremental, 1 % changed on each side", *_measured(python, left, into, "incremental")


def _installed() -> Path | None:
    """The Python of dlt's own environment; None, and a line that says so, if it cannot be had."""
    python = HOME / "bin" / "python"
    if python.exists() and (HOME / "done").exists():
        return python
    HOME.parent.mkdir(parents=True, exist_ok=True)
    steps = (
        [sys.executable, "-m", "venv", str(HOME)],
        [str(python), "-m", "pip", "install", "-q", *PACKAGES],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            print(f"  dlt: left out, since it could not be installed: {last}")
            return None
    (HOME / "done").touch()
    return python


def _measured(python: Path, left: str, into: str, mode: str) -> tuple[float, float]:
    done = subprocess.run(
        [str(python), str(SCRIPT), left, into, mode, str(HOME / "pipelines")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"dlt failed:\n{done.stderr[-2000:]}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return said["seconds"], said["megabytes"]

"""One measured process: its job comes as a line of JSON on stdin, what it took goes as JSON to stdout.

Each case has a process of its own, so that its peak memory is its own. Like a worker it has carried out a run
before: only a first load is measured in a process that is new.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import bench.work as work
from connectors.memory import Memory, MemoryStream
from settings import Settings
from sync.records import SIDES
from tasks import definitions, execute, shift, start
from tasks.context import Context, live
from tasks.logs import set_up


def main() -> None:
    job = json.loads(sys.stdin.readline())
    ctx = context(Path(job["folder"]), job["env"])
    set_up("ERROR", "console", process="bench")
    for line in JOBS[job["do"]](ctx, job):
        print(json.dumps(line), flush=True)


def context(folder: Path, env: Mapping[str, str]) -> Context:
    return live(Settings.from_env(env, folder=folder))


def prepare(ctx: Context, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Our own database, and the sync of the job's file."""
    start.release(ctx)
    definitions.apply(ctx, Path(job["folder"]) / "syncline.yaml", env={}, by="bench")
    return [{}]


def first(ctx: Context, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A run in a new process, as the `sync` command makes it."""
    return [measured(ctx, full=True)]


def later(ctx: Context, job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A run in a process that has made one before; in between, whoever reads this may edit."""
    measured(ctx, full=True)
    yield {}
    sys.stdin.readline()
    yield measured(ctx, full=job["full"])


def measured(ctx: Context, *, full: bool) -> dict[str, Any]:
    began, at_work = perf_counter(), process_time()
    summary = shift.run_here(
        ctx,
        config_id(ctx),
        asked_by="bench",
        carry_out=execute.carry_out,
        full=full,
    )
    return {
        "seconds": perf_counter() - began,
        "processor": process_time() - at_work,
        "megabytes": peak_megabytes(),
        "summary": summary.as_json(),
    }


def memory(ctx: Context, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All cases on the `memory` connector, whose records live and die with the process."""
    size = job["size"]
    start.release(ctx)
    spaces = ctx.access.memory
    spaces["left"] = {"records": work.make_memory(size)}
    spaces["right"] = {"records": MemoryStream(work.FIELDS, key=("id",))}
    definitions.apply(ctx, Path(job["folder"]) / "syncline.yaml", env={}, by="bench")
    found = [{"case": "read", "seconds": _read_both(ctx), "megabytes": peak_megabytes()}]
    found.append({"case": "first full load", **measured(ctx, full=True)})
    measured(ctx, full=True)
    found.append({"case": "nothing changed", **measured(ctx, full=True)})
    for number, (case, share, full) in enumerate(job["edits"]):
        edit = work.Edit(share, work.START.replace(year=2027 + number))
        for side in SIDES:
            work.edit_memory(spaces[side]["records"], edit.ids(side, size), edit.moment)
        found.append({"case": case, **measured(ctx, full=full)})
    return found


def _read_both(ctx: Context) -> float:
    began = perf_counter()
    for side in SIDES:
        connector = Memory(Memory.parse_options({"space": side}), ctx.access)
        stream = connector.stream("records", Memory.StreamOptions())
        for page in connector.read(stream, Memory.StreamOptions()):
            page.records  # noqa: B018  what reading alone costs
    return perf_counter() - began


def config_id(ctx: Context) -> str:
    from sqlalchemy import select

    from models.sync_configs import SyncConfig

    with ctx.reads() as db:
        return db.scalars(select(SyncConfig.id)).one()


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


JOBS = {"prepare": prepare, "first": first, "later": later, "memory": memory}

if __name__ == "__main__":
    main()

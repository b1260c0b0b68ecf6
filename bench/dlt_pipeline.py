"""One run of dlt, started by bench.peers in dlt's own environment: LEFT INTO MODE FOLDER."""

# mypy: ignore-errors
from __future__ import annotations

import json
import resource
import sys
from time import perf_counter

import dlt
from dlt.sources.sql_database import sql_table


def main(left: str, into: str, mode: str, folder: str) -> None:
    began = perf_counter()
    options = {"credentials": left, "table": "records", "backend": "pyarrow", "chunk_size": 50_000}
    if mode == "incremental":
        options["incremental"] = dlt.sources.incremental("updated_at")
    table = sql_table(**options)
    table.apply_hints(primary_key="id", write_disposition="replace" if mode == "replace" else "merge")
    pipeline = dlt.pipeline(
        "bench", destination=dlt.destinations.postgres(into), dataset_name="public", pipelines_dir=folder
    )
    pipeline.run(table)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": perf_counter() - began, "megabytes": peak / 1024}))


main(*sys.argv[1:])

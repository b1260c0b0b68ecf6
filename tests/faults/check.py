"""The invariants, from outside: the two sides, their logs, our journal, and every move of a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.ends import SIDES, Accepted, Wanted
from tests.faults.house import House

SLOWEST_TERM = 20.0
_ENDED = ("success", "partial", "failed", "cancelled", "skipped")


@dataclass(frozen=True)
class Move:
    run_id: str
    config: str
    token: int
    state: str
    worker: str
    at: float


def moves(house: House) -> list[Move]:
    rows = house.ask(
        "SELECT run_id, config, token, state, worker, extract(epoch FROM at)::float8"
        " FROM faults.moves ORDER BY seq"
    )
    return [Move(run, house.config_ids[config], *rest) for run, config, *rest in rows]


def records(house: House) -> list[str]:
    """I3, I4, I5: no record doubled, none lost, none made up, both sides hold what was last written."""
    found: list[str] = []
    with house.ends.connect() as db:
        for config, wanted in house.ends.wanted.items():
            for side in SIDES:
                rows = house.ends.rows(db, config, side)
                for k, copies in rows.items():
                    if len(copies) > 1:
                        found.append(f"I3 doubled: {side} {config} {k} stands there {len(copies)} times")
                    if k not in wanted:
                        found.append(f"I5 phantom: {side} {config} {k}")
                for k, item in wanted.items():
                    found += _record(f"{side} {config} {k}", item, rows.get(k))
    return found


def _record(name: str, item: Wanted, rows: Sequence[object] | None) -> list[str]:
    if item.deleted:
        return [f"I4 came back: {name} was deleted"] if rows else []
    if not rows:
        return [f"I4 lost: {name}"]
    row = rows[0]
    have = (getattr(row, "x", None), getattr(row, "y", None))
    if have != (item.x, item.y):
        return [f"I4 differs: {name} holds {have}, last written {(item.x, item.y)}"]
    return []


def journal(house: House) -> list[str]:
    """I6, I8: what the journal says was done is what the sides accepted, write by write."""
    with house.ends.connect() as db:
        accepted = Counter(
            (item.config, item.side, item.operation, item.record_id) for item in house.ends.log(db)
        )
    rows = house.ask(
        "SELECT config_id, side, operation, record_id FROM changes WHERE state = 'applied'"
        " AND operation IN ('create', 'update', 'delete')"
    )
    said = Counter((house.config_ids[config], *rest) for config, *rest in rows)
    found = []
    for item in accepted.keys() | said.keys():
        if accepted[item] != said[item]:
            name = "I6 delete" if item[2] == "delete" else "I8 journal"
            found.append(f"{name}: {' '.join(item)}: accepted {accepted[item]}, journal {said[item]}")
    for state, number in house.ask(
        "SELECT state, count(*) FROM changes WHERE state IN ('planned', 'sent', 'unknown') GROUP BY state"
    ):
        found.append(f"I8 journal: {number} changes are still {state}")
    return found


def tokens(house: House, every: list[Move]) -> list[str]:
    """I7, I12: tokens never go down; after a take-over one request that was under way, then refusal."""
    found = []
    newest: dict[str, int] = {}
    holder: dict[str, list[tuple[float, str, str]]] = defaultdict(list)  # config -> (since, worker, run)
    running: dict[str, str] = {}
    for move in every:
        if move.token < newest.get(move.run_id, 0):
            found.append(f"I7 token of {move.run_id} went from {newest[move.run_id]} to {move.token}")
        newest[move.run_id] = move.token
        if move.state == "running":
            other = running.get(move.config)
            if other not in (None, move.run_id):
                found.append(f"I12 overlap: {move.run_id} and {other} of {move.config}")
            running[move.config] = move.run_id
            holder[move.config].append((move.at, move.worker, move.run_id))
        elif running.get(move.config) == move.run_id:
            del running[move.config]
            holder[move.config].append((move.at, "", move.run_id))
    late: dict[tuple[str, str, float], set[int]] = defaultdict(set)
    with house.ends.connect() as db:
        log = house.ends.log(db)
    for item in log:
        since, worker = _holder_at(holder[item.config], item)
        if worker != item.worker:
            late[item.config, item.worker, since].add(item.txid)
    for (config, worker, _), requests in late.items():
        if len(requests) > 1:
            found.append(f"I7 late: {worker} wrote {len(requests)} times to {config} after it had lost it")
    return found


def _holder_at(history: list[tuple[float, str, str]], item: Accepted) -> tuple[float, str]:
    holding = (0.0, "")
    for since, worker, _run in history:
        if since > item.at:
            break
        holding = (since, worker)
    return holding


def rows(house: House) -> list[str]:
    """I1, I11, I14, I17, I19, by SQL."""
    found = []
    for name, query in _QUERIES.items():
        (number,) = house.ask(query)[0]
        if number:
            found.append(f"{name}: {number}")
    return found


_QUERIES = {
    "I1 slots with two runs": "SELECT count(*) FROM (SELECT 1 FROM sync_runs WHERE due_at IS NOT NULL"
    " GROUP BY config_id, due_at HAVING count(*) > 1) d",
    "I11 runs with too many interruptions": "SELECT count(*) FROM sync_runs WHERE interruptions > 3",
    "I14 failed runs without a reason": "SELECT count(*) FROM sync_runs WHERE state = 'failed'"
    " AND (error_code IS NULL OR error IS NULL)",
    "I14 runs that met a bug": "SELECT count(*) FROM sync_runs WHERE error_code = 'bug'",
    "I17 slots in the future": "SELECT count(*) FROM sync_runs WHERE due_at > clock_timestamp()",
    "I17 negative durations": "SELECT count(*) FROM sync_runs WHERE finished_at < started_at",
    "I19 held or conflicting changes": "SELECT (SELECT count(*) FROM changes WHERE state = 'held')"
    " + (SELECT count(*) FROM conflicts WHERE state = 'open')",
}


def stuck(house: House, seconds: float) -> list[str]:
    """I2, I10: queued without a ring, or running without a lease, for so long."""
    found = []
    for state, number in house.ask(
        "SELECT state, count(*) FROM sync_runs WHERE (state = 'queued' AND coalesce(not_before, created_at)"
        " < clock_timestamp() - make_interval(secs => %s) AND coalesce(rung_at, created_at)"
        " < clock_timestamp() - make_interval(secs => %s)) OR (state = 'running' AND lease_until"
        " < clock_timestamp() - make_interval(secs => %s)) GROUP BY state",
        seconds,
        seconds,
        seconds,
    ):
        found.append(f"I2 stuck: {number} runs are {state} for more than {seconds:.0f} s")
    return found


def recoveries(every: list[Move], taken_down: Sequence[tuple[str, float]]) -> list[float]:
    """For each run that a process held when it was taken down: how long until it went on or ended."""
    by_run: dict[str, list[Move]] = defaultdict(list)
    for move in every:
        by_run[move.run_id].append(move)
    found = []
    for worker, at in taken_down:
        for history in by_run.values():
            before = [move for move in history if move.at <= at]
            if not before or before[-1].state != "running" or before[-1].worker != worker:
                continue
            after = [move for move in history if move.at > at]
            if after and after[0].worker != worker:
                found.append(after[0].at - at)
    return found


def share(values: Sequence[float], part: float) -> float | None:
    """The value below which this part of them lies."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 2) if ordered else None

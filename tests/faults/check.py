"""The invariants, from outside: the two sides, their logs, our journal, and every move of a run.

Safety must hold at any moment (`always`). Agreement must hold once everything has come to its end
(`agreement`). Liveness is that it does, and in time (`stuck`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tests.faults.ends import SIDES, Accepted, Row, Wanted
from tests.faults.house import House, Running

SLOWEST_TERM = 20.0


@dataclass(frozen=True)
class Move:
    run_id: str
    config: str
    token: int
    state: str
    worker: str
    at: float


def moves(house: House) -> list[Move]:
    at = house.state.epoch("at")
    rows = house.ask(f"SELECT run_id, config, token, state, worker, {at} FROM faults_moves ORDER BY seq")
    found = [Move(run, house.config_ids[config], *rest) for run, config, *rest in rows]
    if not house.plan.sqlite:
        return found
    # SQLite does not know who asks; there is one worker, so the time tells.
    births = [item for item in house.births if item.role in house.plan.workers]
    return [replace(move, worker=_working_at(births, move.at)) for move in found]


def _working_at(births: Sequence[Running], at: float) -> str:
    return next((item.name for item in reversed(births) if item.since <= at), "")


def always(house: House, every: list[Move]) -> list[str]:
    """What no fault excuses, also while something is still under way."""
    return [
        *records(house, settled=False),
        *([] if house.plan.clocks and house.plan.sqlite else tokens(house, every)),
        *rows(house, _ALWAYS),
        *secrets(house),
        *house.state.damage(),
        *size(house),
    ]


def agreement(house: House) -> list[str]:
    """What holds once every run has ended."""
    return [*records(house, settled=True), *journal(house), *rows(house, _SETTLED)]


def records(house: House, *, settled: bool) -> list[str]:
    """I3, I5: no record doubled, none made up. Once settled, I4: none lost, each as it was last written."""
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
                if settled:
                    for k, item in wanted.items():
                        found += _record(f"{side} {config} {k}", item, rows.get(k))
    return found


def _record(name: str, item: Wanted, rows: Sequence[Row] | None) -> list[str]:
    if item.deleted:
        return [f"I4 came back: {name} was deleted"] if rows else []
    if not rows:
        return [f"I4 lost: {name}"]
    have = (rows[0].x, rows[0].y)
    if have != (item.x, item.y):
        return [f"I4 differs: {name} holds {have}, last written {(item.x, item.y)}"]
    return []


def passed_over(house: House) -> list[str]:
    """I9: after incremental runs alone, what was edited and not deleted has arrived all the same."""
    found: list[str] = []
    with house.ends.connect() as db:
        for config, wanted in house.ends.wanted.items():
            for side in SIDES:
                rows = house.ends.rows(db, config, side)
                for k, item in wanted.items():
                    if not item.deleted and (said := _record(f"{side} {config} {k}", item, rows.get(k))):
                        found.append(f"I9 cursor: {said[0]}")
    return found


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


def rows(house: House, queries: dict[str, str]) -> list[str]:
    """I1, I11, I14, I17, I19, by SQL."""
    found = []
    for name, query in queries.items():
        if name.startswith("I17") and house.plan.clocks and house.plan.sqlite:
            continue  # there the database's clock itself is turned
        (number,) = house.ask(query.format(now=house.state.now))[0]
        if number:
            found.append(f"{name}: {number}")
    return found


_ALWAYS = {
    "I1 slots with two runs": "SELECT count(*) FROM (SELECT 1 FROM sync_runs WHERE due_at IS NOT NULL"
    " GROUP BY config_id, due_at HAVING count(*) > 1) d",
    "I11 runs with too many interruptions": "SELECT count(*) FROM sync_runs WHERE interruptions > 3",
    "I14 failed runs without a reason": "SELECT count(*) FROM sync_runs WHERE state = 'failed'"
    " AND (error_code IS NULL OR error IS NULL)",
    "I14 runs that met a bug": "SELECT count(*) FROM sync_runs WHERE error_code = 'bug'",
    "I14 alerts raised twice": "SELECT count(*) FROM (SELECT 1 FROM alerts WHERE cleared_at IS NULL"
    " GROUP BY config_id, connection_id, kind HAVING count(*) > 1) d",
    "I17 slots in the future": "SELECT count(*) FROM sync_runs WHERE due_at > {now}",
    "I17 negative durations": "SELECT count(*) FROM sync_runs WHERE finished_at < started_at",
}
_SETTLED = {
    "I14 alerts of syncs that got through": "SELECT count(*) FROM alerts a WHERE a.kind = 'failing'"
    " AND a.cleared_at IS NULL AND 'success' = (SELECT r.state FROM sync_runs r"
    " WHERE r.config_id = a.config_id AND r.state IN ('success', 'partial', 'failed')"
    " ORDER BY r.finished_at DESC LIMIT 1)",
    "I19 held or conflicting changes": "SELECT (SELECT count(*) FROM changes WHERE state = 'held')"
    " + (SELECT count(*) FROM conflicts WHERE state = 'open')",
}


def secrets(house: House) -> list[str]:
    """I13: the password of the two sides stands in no log and in no text that people see."""
    found = []
    password = house.pg_url.partition("://")[2].partition("@")[0].partition(":")[2]
    if password.encode() in house.log.read_bytes():
        found.append("I13 secret: a password stands in the log")
    for place in ("sync_runs.error", "run_lines.text", "changes.message", "issues.message", "alerts.message"):
        table, _, column = place.partition(".")
        (number,) = house.ask(f"SELECT count(*) FROM {table} WHERE {column} LIKE %s", f"%{password}%")[0]
        if number:
            found.append(f"I13 secret: a password stands in {place} {number} times")
    return found


def size(house: House) -> list[str]:
    """I20: no worker has grown beyond 300 MB."""
    largest = house.largest_worker()
    return [f"I20 memory: a worker holds {largest} MB"] if largest >= 300 else []


def broken_promises(house: House, promised: Iterable[str]) -> list[str]:
    """A click that was answered with yes leaves a run that ended."""
    known = {run for (run,) in house.ask("SELECT id FROM sync_runs WHERE state NOT IN ('queued', 'running')")}
    lost = [run for run in promised if run not in known]
    return [f"I2 clicks: {len(lost)} runs that were promised did not end: {lost[:3]}"] if lost else []


def stuck(house: House, seconds: float) -> list[str]:
    """I2, I10: queued without a ring, or running without a lease, for so long."""
    ago = house.state.ago(seconds)
    found = []
    for state, number in house.ask(
        "SELECT state, count(*) FROM sync_runs WHERE (state = 'queued' AND coalesce(not_before, created_at)"
        f" < {ago} AND coalesce(rung_at, created_at) < {ago})"
        f" OR (state = 'running' AND lease_until < {ago}) GROUP BY state"
    ):
        found.append(f"I2 stuck: {number} runs are {state} for more than {seconds:.0f} s")
    return found


def resent(house: House) -> int:
    """How many changes were sent, found not done, and so sent once more."""
    (number,) = house.ask(
        "SELECT count(*) FROM changes WHERE state IN ('abandoned', 'rejected') AND sent_at IS NOT NULL"
    )[0]
    return int(number)


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

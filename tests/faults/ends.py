"""The two sides that are kept in agreement: tables that log every write, and people who edit them.

The log is filled by triggers inside the transaction of the write, so it holds what was accepted and
nothing else. Who wrote is a setting of the session that each process brings along (PGOPTIONS).
People on the left edit `x`, people on the right `y`; what was created by whom and last written is kept,
so that a lost record or a lost edit is seen from outside.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
WHO = "faults.worker"
USER = "user"

_LOGGING = """
CREATE TABLE accepted (
    seq bigserial PRIMARY KEY, config text, side text, operation text, record_id text, k text,
    worker text, txid bigint, at timestamptz
);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE it record;
BEGIN
    IF TG_OP = 'DELETE' THEN it := OLD; ELSE it := NEW; END IF;
    INSERT INTO accepted (config, side, operation, record_id, k, worker, txid, at) VALUES (
        substr(TG_TABLE_NAME, 2), CASE substr(TG_TABLE_NAME, 1, 1) WHEN 'l' THEN 'left' ELSE 'right' END,
        CASE TG_OP WHEN 'INSERT' THEN 'create' WHEN 'UPDATE' THEN 'update' ELSE 'delete' END,
        it.id::text, it.k, coalesce(nullif(current_setting('faults.worker', true), ''), '?'),
        txid_current(), clock_timestamp());
    RETURN NULL;
END $$;
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('faults.worker', true), '') <> 'user' THEN PERFORM pg_sleep(SECONDS); END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.at := clock_timestamp(); RETURN NEW; END $$;
"""

_TABLE = """
CREATE TABLE {0} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text, x text, y text,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON {0} (k);
CREATE TRIGGER touch BEFORE UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {0} FOR EACH ROW EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT OR UPDATE OR DELETE ON {0}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


@dataclass
class Wanted:
    """What a record must look like in the end."""

    x: str
    y: str
    deleted: bool = False


@dataclass
class Row:
    id: str
    x: str
    y: str


@dataclass(frozen=True)
class Accepted:
    config: str
    side: str
    operation: str
    record_id: str
    k: str
    worker: str
    txid: int
    at: float


@dataclass
class Ends:
    """`url` is a psycopg URL of an empty database; each write of a process takes `seconds` to commit."""

    url: str
    configs: list[str]
    seconds: float = 0.004
    wanted: dict[str, dict[str, Wanted]] = field(default_factory=dict)
    edits: Counter[str] = field(default_factory=Counter)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=3, options=f"-c {WHO}={USER}")

    def build(self, records: int) -> None:
        with self.connect() as db:
            db.execute(_LOGGING.replace("SECONDS", str(self.seconds)))
            for config in self.configs:
                for letter in "lr":
                    db.execute(_TABLE.format(f"{letter}{config}"))
                db.execute(
                    f"INSERT INTO l{config} (k, x, y) SELECT 'b' || n, 'x0', 'y0'"
                    f" FROM generate_series(1, {records}) n"
                )
                self.wanted[config] = {f"b{n}": Wanted("x0", "y0") for n in range(1, records + 1)}

    def rows(self, db: psycopg.Connection[Any], config: str, side: Side) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        query = f"SELECT id::text, k, x, y FROM {side[0]}{config}"
        for record_id, k, x, y in db.execute(query):
            found.setdefault(k, []).append(Row(record_id, x, y))
        return found

    def log(self, db: psycopg.Connection[Any]) -> list[Accepted]:
        query = (
            "SELECT config, side, operation, record_id, k, worker, txid, extract(epoch FROM at)::float8"
            " FROM accepted WHERE worker <> 'user' ORDER BY seq"
        )
        return [Accepted(*row) for row in db.execute(query)]


class People(threading.Thread):
    """Edits both sides until told to stop. An edit that fails is made again until it is there."""

    def __init__(self, ends: Ends, seed: int, *, every: float = 0.03) -> None:
        super().__init__(daemon=True)
        self.ends = ends
        self.stop = threading.Event()
        self.broken: BaseException | None = None
        self._chance = random.Random(seed)
        self._every = every
        self._number = 0
        self._db: psycopg.Connection[Any] | None = None

    def run(self) -> None:
        try:
            while not self.stop.wait(self._every):
                self._edit()
        except BaseException as problem:
            self.broken = problem
            raise
        finally:
            if self._db is not None:
                self._db.close()

    def _edit(self) -> None:
        chance, self._number = self._chance, self._number + 1
        config = chance.choice(self.ends.configs)
        wanted = self.ends.wanted[config]
        side: Side = chance.choice(SIDES)
        what = chance.choices(("update", "create", "delete"), (80, 15, 5))[0]
        value = f"v{self._number}"
        table = f"{side[0]}{config}"
        if what == "create":
            # One in four is never edited, and may be deleted.
            k = f"{'d' if chance.random() < 0.25 else 'n'}{side[0]}{self._number}"
            query = (
                f"INSERT INTO {table} (k, x, y) SELECT %s, 'x0', 'y0'"
                f" WHERE NOT EXISTS (SELECT FROM {table} WHERE k = %s)"
            )
            self._insist(query, (k, k))
            wanted[k] = Wanted("x0", "y0")
        elif what == "update":
            k = chance.choice([key for key, item in wanted.items() if key[0] != "d" and not item.deleted])
            column = "x" if side == "left" else "y"
            if self._insist(f"UPDATE {table} SET {column} = %s WHERE k = %s", (value, k)):
                setattr(wanted[k], column, value)
        else:
            doomed = [key for key, item in wanted.items() if key[0] == "d" and not item.deleted]
            if not doomed:
                return
            k = chance.choice(doomed)
            origin: Side = "left" if k[1] == "l" else "right"
            self._insist(f"DELETE FROM {origin[0]}{config} WHERE k = %s", (k,))
            wanted[k].deleted = True
        self.ends.edits[what] += 1

    def _insist(self, query: str, values: tuple[str, ...]) -> int:
        """How many rows it touched. Each of these may be made twice without harm."""
        for _ in range(600):
            try:
                if self._db is None or self._db.closed:
                    self._db = self.ends.connect()
                return self._db.execute(query, values).rowcount
            except psycopg.OperationalError:
                if self._db is not None:
                    self._db.close()
                self._db = None
                threading.Event().wait(0.1)
        raise TimeoutError("the database of the two sides stayed away for a minute")

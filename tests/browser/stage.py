"""A morning in a business: nine syncs, a night with an outage behind it, decisions that wait."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

from werkzeug.serving import make_server

from models.audit import AuditEvent
from models.issues import IssueClaim
from models.people import Role
from models.questions import Question
from models.sync_configs import SyncConfig
from models.sync_runs import RunState
from sync.guard import SENTENCES
from sync.values import encode_fields
from tasks import bulk, drafts
from tasks.context import Context
from tests.web.world import DEFINITION, NOW, OWN, Clock, World, make_context, summary
from web import create_app

PASSWORD = "correct horse battery staple"


def between(left: str, right: str, **changed: Any) -> dict[str, Any]:
    """The definition of a sync between these two streams."""
    ends = {"left": {"connection": "crm", "stream": left}, "right": {"connection": "sheets", "stream": right}}
    return DEFINITION | ends | changed


ONE_WAY: dict[str, Any] = between("orders", "fulfilment.csv") | {
    "direction": "left_to_right",
    "deletes": "never",
    "conflict": "manual",
    "modified": None,
    "fields": [
        {"left": "order", "right": "Order", "type": "text"},
        {"left": "customer", "right": "Customer", "type": "text"},
        {"left": "quantity", "right": "Quantity", "type": "decimal"},
        {"left": "total", "right": "Total", "type": "decimal", "scale": 2},
    ],
    "match": ["order"],
    "impact": {"who": "customer", "called": "customers", "amount": "total", "above": "1000"},
}


_REWORDED = [
    {"place": "fields.balance.scale", "before": None, "after": "2"},
    {"place": "conflict", "before": "left_wins", "after": "newest_wins"},
]


class Stage(World):
    """The world of the screenshots and the browser tests. Chance is seeded: it is the same each time."""

    def __init__(self, ctx: Context, clock: Clock) -> None:
        super().__init__(ctx, clock)
        self.chance = random.Random(7)
        self.person("alice", Role.ADMIN, password=PASSWORD)
        self.person("bob", Role.OPERATOR, password=PASSWORD)
        self.beats(workers=2)
        self.customers = self._customers()
        self.orders = self._orders()
        self._others()
        self.draft = self._draft()
        self.bulk = bulk.plan(ctx, bulk.Selection(OWN), said="every cause in all syncs", by="bob@example.com")

    def _history(
        self,
        config: str,
        every: int,
        number: int,
        seconds: float = 3.0,
        last: float | None = None,
        changed: float = 0,
    ) -> None:
        """Runs that got through, one each `every` minutes, the last one `last` minutes ago.

        Those of the last `changed` minutes ran under a second version of the definition.
        """
        newest = self.chance.uniform(2, every) if last is None else last
        for back in range(number - 1, -1, -1):
            ended = NOW - timedelta(minutes=back * every + newest)
            took = timedelta(seconds=seconds * self.chance.uniform(0.6, 1.8))
            written = {
                "created": self.chance.choice([0, 0, 0, 1, 2]),
                "updated": self.chance.choice([0, 0, 1, 2, 4, 7]),
                "deleted": self.chance.choice([0, 0, 0, 0, 0, 1]),
            }
            minutes = (NOW - ended).total_seconds() / 60
            self.run(
                config,
                minutes=minutes,
                created_at=ended - took,
                summary=summary(right={"read": 214, **written}),
                config_version=1 if minutes > changed else 2,
            )

    def _customers(self) -> str:
        config = self.config("customers", next_run_at=NOW + timedelta(minutes=4), version=2)
        self._history(config, 30, 90, last=31, changed=100)
        self.latest = self.run(
            config,
            minutes=1,
            config_version=2,
            summary=summary(
                left={"read": 214, "created": 2, "updated": 1, "deleted": 0},
                right={"read": 212, "created": 1, "updated": 3, "deleted": 1},
                unchanged=206,
                resolved=1,
            ),
        )
        changes: list[dict[str, Any]] = [
            {
                "key": "amelie.laurent@example.com",
                "before": encode_fields({"name": "Amélie Laurent", "balance": Decimal("120.00")}),
                "after": encode_fields({"name": "Amélie Laurent-Petit", "balance": Decimal("95.50")}),
                "rule": "left changed",
            },
            {
                "key": "j.okafor@example.com",
                "before": encode_fields({"balance": Decimal("1200.00")}),
                "after": encode_fields({"balance": Decimal("1450.00")}),
                "rule": "newest_wins",
                "side": "left",
            },
            {
                "key": "søren.madsen@example.com",
                "operation": "create",
                "before": None,
                "after": encode_fields(
                    {"email": "søren.madsen@example.com", "name": "Søren Madsen", "balance": Decimal("0.00")}
                ),
                "rule": "new",
            },
            {
                "key": "old.account@example.com",
                "operation": "delete",
                "before": encode_fields({"email": "old.account@example.com", "name": "Old account"}),
                "after": None,
                "rule": "deleted on left",
            },
            {
                "key": "notes@example.com",
                "before": encode_fields({"name": "N."}),
                "after": encode_fields({"name": "A very long name, " * 20}),
                "rule": "left changed",
            },
        ]
        amelie = {"email": "amelie.laurent@example.com", "name": "Amélie Laurent-Petit"}
        link = self.link(config, amelie["email"], agreed={**amelie, "balance": Decimal("95.50")})
        for change in changes:
            tied = link if change["key"].startswith("amelie") else None
            self.change(self.latest, link_id=tied, **change)
        earlier = self.run(config, minutes=3000)
        self.change(
            earlier,
            "amelie.laurent@example.com",
            link_id=link,
            operation="create",
            before=None,
            after=encode_fields({"email": "amelie.laurent@example.com", "name": "Amélie Laurent"}),
            rule="new",
            created_at=NOW - timedelta(minutes=3000),
        )
        self.conflict(
            config,
            amelie["email"],
            link_id=link,
            left={"value": "Amélie Laurent"},
            right={"value": "Amelie Laurent"},
            left_shadow={"value": "Amélie Laurent"},
            right_shadow={"value": "Amélie Laurent"},
            state="resolved",
            resolved_by="bob@example.com",
            opened_at=NOW - timedelta(hours=20),
            closed_at=NOW - timedelta(hours=19),
        )
        for text in (
            "Reading left: 214 records.",
            "Reading right: 212 records.",
            "Planned 8 changes; 206 records are unchanged.",
            "Wrote 3 changes to left, 5 to right.",
            "Both sides agree.",
        ):
            self.line(self.latest, text)
        with self.write() as db:
            for action, actor, reason, hours in (
                ("config.created", "alice@example.com", "", 720),
                ("config.paused", "bob@example.com", "The CRM is being moved tonight", 90),
                ("config.resumed", "bob@example.com", "", 80),
                ("config.changed", "alice@example.com", "Sales asked for two decimals", 1.75),
            ):
                db.add(
                    AuditEvent(
                        workspace_id=OWN,
                        at=NOW - timedelta(hours=hours),
                        actor=actor,
                        action=action,
                        subject=config,
                        detail={"reason": reason, "changes": _REWORDED if "changed" in action else []},
                    )
                )
        return config

    def _preview(self, config: str) -> str:
        """What the next run of a sync would do, as bob has just asked."""
        run = self.run(
            config,
            RunState.PARTIAL,
            kind="preview",
            minutes=3,
            asked_by="bob@example.com",
            summary=summary(
                held=2,
                unchanged=7,
                left={"read": 10, "created": 0, "updated": 1, "deleted": 0},
                right={"read": 12, "created": 1, "updated": 1, "deleted": 0},
            ),
        )
        hamada = {"name": "Hamada Glass", "country": "JP", "terms": "60 days net"}
        would: list[dict[str, Any]] = [
            {
                "key": "Ada Foundry",
                "before": encode_fields({"terms": "30 days net", "limit": Decimal("5000.00")}),
                "after": encode_fields({"terms": "14 days net", "limit": Decimal("7500.00")}),
                "rule": "left changed",
            },
            {
                "key": "Kværner Stål",
                "before": encode_fields({"country": None}),
                "after": encode_fields({"country": "NO"}),
                "side": "left",
                "rule": "right changed",
            },
            {
                "key": "Hamada Glass",
                "operation": "create",
                "before": None,
                "after": encode_fields(hamada),
                "rule": "new",
            },
        ]
        for change in would:
            self.change(run, state="would_go", **change)
        for name in ("Nordholz AG", "Tanaka Seiki"):
            self.change(
                run,
                key=name,
                operation="delete",
                state="would_wait",
                guard="mass_delete",
                message=SENTENCES["mass_delete"],
                before=encode_fields({"name": name, "country": "DE", "terms": "30 days net"}),
                after=None,
                rule="deleted on left",
            )
        return run

    def _orders(self) -> str:
        config = self.config("orders to warehouse", definition=ONE_WAY, cron="*/15 * * * *")
        self._history(config, 45, 60, seconds=8, last=54)
        errors = [
            {
                "key": f"ORD-20{number}",
                "side": "right",
                "operation": "update",
                "code": "rejected",
                "message": "quantity: the column takes whole numbers; '2.5' is none.",
            }
            for number in range(41, 48)
        ] + [
            {
                "key": "jana@example.com",
                "side": "left",
                "operation": "create",
                "code": "ambiguous_key",
                "message": "Two records on left have the e-mail address jana@example.com.",
            }
        ]
        self.partial = self.run(
            config,
            RunState.PARTIAL,
            minutes=9,
            summary=summary(
                failed=8, errors=errors, right={"read": 980, "created": 4, "updated": 31, "deleted": 0}
            ),
        )
        sent = [
            self.change(
                self.partial,
                key=error["key"],
                before=encode_fields({"quantity": 2}),
                after=encode_fields({"quantity": Decimal("2.5")}),
                state="rejected",
                code="rejected",
                message=error["message"],
            )
            for error in errors[:7]
        ]
        for number in range(3):
            self.change(self.partial, key=f"ORD-21{number}")
        self._calls(sent)
        for number, error in enumerate(errors):
            held: dict[str, Any] = {"customer": f"C-{number % 5}", "total": Decimal(350 * number)}
            self.issue(
                config, error["key"], code=error["code"], side=error["side"], message=error["message"],
                link_id=self.link(config, error["key"], agreed=held),
            )  # fmt: skip
        with self.write() as db:
            db.add(
                IssueClaim(
                    config_id=config, code="ambiguous_key", by="bob@example.com",
                    at=NOW - timedelta(minutes=5), until=NOW + timedelta(minutes=25),
                )
            )  # fmt: skip
        return config

    def _calls(self, refused: list[int]) -> None:
        """What the run of the orders asked: pages that went well, a busy system, a refused write."""
        told = {"content-type": "application/json", "x-request-id": "9f2c41d0-7f3a"}
        place: dict[str, Any] = {"origin": "https://warehouse.example.com", "headers": told}
        read: dict[str, Any] = {
            **place, "method": "GET", "status": 200, "failed": False, "sent": "", "sent_size": 0,
            "sent_headers": {"authorization": "•••", "accept": "application/json"},
        }  # fmt: skip
        for number in (1, 2, 3):
            self.call(
                self.partial, **read, number=number, target=f"/v1/orders?limit=100&page={number}",
                at=NOW - timedelta(minutes=9, seconds=30 - number), ms=140 + 31 * number, size=38_412,
                body='{"orders": [{"id": "ORD-2001", "quantity": 3, "customer": "mary@example.com"}, …',
            )  # fmt: skip
        self.call(
            self.partial, **place, number=11, method="GET", target="/v1/orders?limit=100&page=11", status=503,
            at=NOW - timedelta(minutes=9, seconds=14), ms=2210, sent="", sent_size=0, size=31,
            body='{"error": "try again in 1 s"}',
        )  # fmt: skip
        self.call(
            self.partial, **read, number=12, target="/v1/orders?limit=100&page=11", attempt=2,
            at=NOW - timedelta(minutes=9, seconds=11), ms=188, size=12_940,
            body='{"orders": [], "next": null}',
        )  # fmt: skip
        self.refused = self.call(
            self.partial, **place, number=13, method="PATCH", target="/v1/orders", status=422, failed=True,
            at=NOW - timedelta(minutes=9, seconds=5), ms=96, changes=refused,
            sent='{"orders": [{"id": "ORD-2041", "quantity": 2.5}, {"id": "ORD-2042", "quantity": 2.5}]}',
            body='{"error": {"field": "quantity", "message": "the column takes whole numbers"}}',
        )  # fmt: skip

    def _others(self) -> None:
        stock = self.config(
            "stock levels",
            cron="0 * * * *",
            definition=between("stock", "stock.csv"),
            next_run_at=NOW + timedelta(minutes=38),
        )
        self._history(stock, 60, 46, seconds=20, last=82)
        self.failed = self.run(
            stock,
            RunState.FAILED,
            minutes=22,
            summary=None,
            error_code="unavailable",
            error="The database at warehouse.example.com:5432 did not answer within 10 s.",
        )
        leads = self.config(
            "leads",
            cron="*/10 * * * *",
            definition=between("leads", "Pipeline.csv", impact={"who": "company", "called": "companies"}),
        )
        self._history(leads, 20, 140)
        tied = {
            key: self.link(leads, key, agreed={"company": company})
            for key, company in (
                ("mary.kim@example.com", "Kim Trading Co."),
                ("t.brandt@example.com", "Brandt und Söhne"),
            )
        }
        for key, field, left, right in (
            ("mary.kim@example.com", "phone", "+44 20 7946 0018", "+44 20 7946 0099"),
            ("mary.kim@example.com", "stage", "Won", "Negotiation"),
            ("t.brandt@example.com", "company", "Brandt & Söhne GmbH", "Brandt und Söhne"),
        ):
            self.conflict(
                leads,
                key=key,
                field=field,
                link_id=tied[key],
                left={"value": left},
                left_shadow={"value": right.replace("99", "11")},
                right_shadow={"value": right.replace("99", "11")},
                right={"value": right},
                left_modified_at=NOW - timedelta(hours=5),
                right_modified_at=NOW - timedelta(hours=3),
            )
        suppliers = self.config(
            "suppliers",
            cron="0 6 * * *",
            next_run_at=NOW + timedelta(hours=16),
            definition=between("suppliers", "suppliers.csv"),
        )
        self.suppliers = suppliers
        run = self.run(suppliers, RunState.PARTIAL, minutes=480, summary=summary(held=4, left={"read": 12}))
        for name in ("Nordholz AG", "Tanaka Seiki", "Ferrum Srl", "Oak & Iron Ltd"):
            self.change(
                run,
                key=name,
                operation="delete",
                state="held",
                guard="mass_delete",
                before=encode_fields({"name": name, "country": "DE", "terms": "30 days net"}),
                after=None,
                rule="deleted on left",
            )
        self.preview = self._preview(suppliers)
        for name, every in (("invoices", 60), ("payments from Stripe", 20), ("staff directory", 240)):
            config = self.config(
                name,
                next_run_at=NOW + timedelta(minutes=every),
                definition=between(name.replace(" ", "_").lower(), f"{name.split()[0]}.csv"),
            )
            self._history(config, every, 2800 // every)
        paused = self.config(
            "price list",
            paused_at=NOW - timedelta(hours=5),
            paused_by="bob@example.com",
            paused_reason="Prices are being reviewed until Thursday",
            next_run_at=None,
        )
        self._history(paused, 90, 28, last=310)
        backfill = self.config("archive 2019", cron="0 3 * * *", next_run_at=NOW + timedelta(hours=12))
        self.running = self.run(
            backfill,
            RunState.RUNNING,
            kind="backfill",
            asked_by="alice@example.com",
            reason="First load of the archive, see ticket 4711",
            created_at=NOW - timedelta(minutes=3, seconds=20),
            phase="writing",
            done=41_200,
            total=64_000,
            full=True,
        )
        self.line(self.running, "Reading left: 64,000 records.")
        self.line(self.running, "The system asked for a pause of 2 s.", "warning")
        self.config("old newsletter", active=False, next_run_at=None)

    def _draft(self) -> str:
        """A sync that somebody is putting together: both systems have answered."""
        draft = drafts.begin(self.ctx, OWN, f"{OWN}-crm", f"{OWN}-sheets", by="alice@example.com")
        left = _stream(
            "contacts", ("id", "integer"), ("email", "text"), ("full_name", "text"), ("balance", "decimal")
        )
        right = _stream(
            "Contacts.csv", ("E-mail", "text"), ("Name", "text"), ("Balance", "text"), ("Note", "text")
        )
        self._answers(streams=[left], side="left")
        self._answers(streams=[right], side="right")
        ends = {"left": {"stream": "contacts"}, "right": {"stream": "Contacts.csv", "key": "E-mail"}}
        drafts.choose_streams(self.ctx, draft, ends, by="alice@example.com")
        people = [("ada@example.com", "Ada Lovelace", "120.50"), ("grace@example.com", "Grace Hopper", "0")]
        self._answers(stream=left, records=[[str(n), *row] for n, row in enumerate(people, 1)], side="left")
        self._answers(stream=right, records=[[*row, None] for row in people], side="right")
        pairs = [{"left": "email", "right": "E-mail"}, {"left": "full_name", "right": "Name"}]
        drafts.say(self.ctx, draft, {"fields": pairs, "match": ["email"]}, name="contacts")
        return draft

    def _answers(self, side: str, **answer: Any) -> None:
        connection = f"{OWN}-{'crm' if side == 'left' else 'sheets'}"
        if "stream" in answer:
            answer["fields"] = [field["name"] for field in answer["stream"]["fields"]]
        with self.write() as db:
            for row in db.query(Question).filter_by(connection_id=connection, state="asked"):
                row.state, row.answer, row.finished_at = "answered", answer, NOW

    def renamed(self, config: str, name: str) -> None:
        with self.write() as db:
            db.get_one(SyncConfig, config).name = name


def _stream(name: str, *fields: tuple[str, str]) -> dict[str, Any]:
    """A stream as a system describes it; a first field `id` is the key that it makes itself."""
    return {
        "name": name, "key": ["id"] if fields[0][0] == "id" else [], "writable": True,
        "read_only_because": "", "problems": [],
        "fields": [
            {"name": field, "type": kind, "key": field == "id", "writable": True, "generated": field == "id",
             "nullable": True}
            for field, kind in fields
        ],
    }  # fmt: skip


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Stage]]:
    """The panel over a new stage, on a free port of this machine; its address."""
    clock = Clock()
    stage = Stage(make_context(folder, clock), clock)
    server = make_server("127.0.0.1", 0, create_app(stage.ctx), threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", stage
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()

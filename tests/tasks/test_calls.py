"""Which calls of a run are kept, and that no credential is kept with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from connectors.recording import Call
from models.calls import RunCall
from tasks import redaction, runs
from tasks.calls import FAILED, FAILURE_KEPT, FIRST, LAST, READ_KEPT, CallLog
from tests.tasks.world import World


def call(number: int = 0, **changed: Any) -> Call:
    values: dict[str, Any] = {
        "method": "GET",
        "origin": "https://api.example.com",
        "target": f"/records?page={number}",
        "sent_headers": {},
        "sent": b"",
        "seconds": 0.25,
        "status": 200,
        "headers": {"X-Request-Id": "r1"},
        "body": b"{}",
    }
    return Call(**{**values, **changed})


class Desk:
    def __init__(self, world: World) -> None:
        self.world = world
        self.log = CallLog(world.ctx)
        self.run_id = runs.queue(world.ctx, world.config(), asked_by="ada")

    def note(self, *calls: Call) -> None:
        for item in calls:
            self.log.on("left").note(item)

    def stored(self, *, rest: bool = True) -> list[RunCall]:
        with self.world.ctx.sessions.begin() as db:
            self.log.store(db, self.run_id, rest=rest)
        with self.world.ctx.reads() as db:
            return list(db.scalars(select(RunCall).order_by(RunCall.number)))

    def one(self, **changed: Any) -> RunCall:
        self.note(call(**changed))
        return self.stored()[-1]


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_the_first_and_the_last_calls_are_kept_and_all_that_failed(desk: Desk) -> None:
    desk.note(*(call(n, status=503 if n in (40, 41) else 200) for n in range(1, 101)))
    kept = [row.number for row in desk.stored()]
    assert kept == [*range(1, FIRST + 1), 40, 41, *range(101 - LAST, 101)]


def test_failures_are_kept_at_once_and_only_up_to_a_number(desk: Desk) -> None:
    desk.note(*(call(n, status=500) for n in range(FAILED + 30)))
    assert len(desk.stored(rest=False)) == FAILED
    assert desk.log.is_stored


def test_the_calls_of_a_batch_that_did_not_get_through_are_kept(desk: Desk) -> None:
    desk.note(*(call(n) for n in range(20)))
    with desk.log.carrying([7, 8]) as batch:
        desk.note(call(20, method="POST", body=b'{"errors": [{"index": 1}]}'))
        batch.is_wanted = True
    desk.note(*(call(n) for n in range(21, 60)))
    row = next(row for row in desk.stored() if row.number == 21)
    assert row.changes == [7, 8] and not row.failed
    assert [row.changes for row in desk.stored() if row.number != 21] == [[]] * (FIRST + LAST)


def test_the_same_call_over_again_is_counted_as_an_attempt(desk: Desk) -> None:
    for status in (503, 503, 200, 200):
        desk.note(call(1, status=status))
    assert [row.attempt for row in desk.stored()] == [1, 2, 3, 1]


def test_a_lost_answer_is_a_failure_with_its_reason(desk: Desk) -> None:
    row = desk.one(status=None, body=b"", problem="The answer of 'api' was lost (read timeout).")
    assert row.failed and row.status is None and "lost" in row.problem


def test_bodies_are_kept_from_their_beginning(desk: Desk) -> None:
    read = desk.one(body=b"a" * 3_000_000)
    assert (len(read.body), read.body[-1], read.size) == (READ_KEPT, "…", 3_000_000)
    assert len(desk.one(status=400, body=b"a" * 3_000_000).body) == FAILURE_KEPT


def test_what_is_no_text_is_stored_all_the_same(desk: Desk) -> None:
    row = desk.one(body=b'\x00\xff\xfe{"a": "\\u0000\\ud800"}', headers={"x": "\x00\udcff"}, target="/\x00")
    assert "\x00" not in row.body + row.target + str(row.headers)


def test_credentials_go_by_their_names(desk: Desk) -> None:
    row = desk.one(
        method="POST",
        target="/login?access_token=hidden-1&page=2",
        sent_headers={
            "Authorization": "Bearer hidden-2",
            "X-Parse-Master-Key": "hidden-3",
            "Accept": "text/x",
        },
        sent=b'{"user": "ada", "password": "hidden\\"-4", "auth": {"api_key": "hidden-5", "pin": 1234}}',
        headers={"Set-Cookie": "session=hidden-6"},
        body=b'{"sessionToken": "hidden-7", "author": "Ada", "next": "/x?token=hidden-8&page=3"}',
    )
    told = json.dumps([row.target, row.sent_headers, row.sent, row.headers, row.body])
    assert "hidden" not in told and "1234" not in told
    assert "page=2" in row.target and row.sent_headers["Accept"] == "text/x"
    assert json.loads(row.sent)["user"] == "ada"
    assert json.loads(row.body)["author"] == "Ada" and "page=3" in row.body


def test_a_form_and_a_body_that_is_cut_off_lose_theirs_too(desk: Desk) -> None:
    form = desk.one(method="POST", sent=b"grant_type=code&client_secret=hidden-1&code_verifier=x")
    cut = desk.one(status=500, body=b'{"rows": [1, 2], "token": "hidden-2 and no end')
    assert "hidden" not in form.sent + cut.body
    assert "grant_type=code" in form.sent and '"rows": [1, 2]' in cut.body


def test_a_known_secret_is_taken_out_wherever_it_stands(desk: Desk) -> None:
    secret = "known/Secret & 81f2"
    redaction.remember([secret])
    filler = "x" * (FAILURE_KEPT - 10)
    for body in (
        json.dumps({"echo": secret}),
        '{"echo": "known\\/Secret \\u0026 81f2"}',
        filler + secret,
        filler + "y" * 8_180 + secret,
        (secret + "y") * 9_000,
    ):
        assert "known" not in desk.one(status=500, body=body.encode()).body
    own = desk.one(status=500, body=b"told: abcd", target="/abcd", secrets=["abcd"])
    assert "abcd" not in own.body + own.target


def test_a_hostile_answer_does_not_make_the_mask_slow(desk: Desk) -> None:
    for piece in ("token", '"token', "&token", '\\"', "?a=token"):
        assert desk.one(status=500, body=piece.encode() * 20_000).failed


def test_of_a_call_about_credentials_nothing_is_kept_but_that_it_was_made(desk: Desk) -> None:
    row = desk.one(
        method="POST", target="/token?code=1", sent=b"refresh=1", body=b'{"value": "t"}',
        sent_headers={"a": "b"}, is_confidential=True,
    )  # fmt: skip
    assert (row.target, row.sent, row.body, row.sent_headers, row.headers) == ("/token", "", "", {}, {})
    assert (row.sent_size, row.size) == (9, 14)

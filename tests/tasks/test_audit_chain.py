"""The audit is a chain: whatever is changed, taken out or put in afterwards is seen."""

from __future__ import annotations

import pytest

from tasks import audit, doctor, saving
from tasks.context import Context
from tasks.people import DEFAULT_WORKSPACE as OWN
from tests.house import House


@pytest.fixture
def ctx(house: House) -> Context:
    ctx = house.ctx()
    for number in range(5):
        saving.create_connection(ctx, OWN, f"c{number}", "csv", {"folder": "."}, by="ada@example.com")
    audit.seal(ctx)
    return ctx


def test_an_untouched_chain_holds_and_goes_on(ctx: Context) -> None:
    first = audit.verify(ctx)
    assert first.problems == ()
    assert first.sealed >= 5
    saving.create_connection(ctx, OWN, "one more", "csv", {"folder": "."}, by="bob")
    assert audit.seal(ctx) == 1
    assert audit.seal(ctx) == 0
    assert audit.verify(ctx).sealed == first.sealed + 1
    assert audit.verify(ctx).problems == ()


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_events SET actor = 'eve' WHERE place = 3",
        "UPDATE audit_events SET subject = 'x' WHERE place = 3",
        "UPDATE audit_events SET action = 'nothing' WHERE place = 3",
        "UPDATE audit_events SET detail = '{}' WHERE place = 3",
        "UPDATE audit_events SET at = '2020-01-01 00:00:00' WHERE place = 3",
        "DELETE FROM audit_events WHERE place = 3",
        "DELETE FROM audit_events WHERE place = (SELECT max(place) FROM audit_events)",
        "UPDATE audit_events SET place = 99 WHERE place = 3",
    ],
)
def test_what_is_changed_afterwards_is_seen(ctx: Context, house: House, tampering: str) -> None:
    house.store(tampering)
    assert len(audit.verify(ctx).problems) == 1
    [found] = [item for item in doctor.examine(ctx) if item.check == "audit"]
    assert found.state == "wrong"


def test_a_persons_acts_are_found_by_the_database_however_their_address_is_written(
    ctx: Context, house: House
) -> None:
    with ctx.sessions.begin() as db:
        for number, (actor, detail) in enumerate(
            (
                ("JÖRG.W@Example.com", {}),
                ("bob", {"to": "jörg.w@example.com"}),
                ("bob", {"to": "w@example.com"}),
            )
        ):
            audit.record(db, "x.y", str(number), by=actor, at=ctx.db_now(db), **detail)
    looked_at: list[str] = []
    without = audit.without

    def noted(text: str, person: str, pseudonym: str) -> str:
        looked_at.append(text)
        return without(text, person, pseudonym)

    with ctx.sessions.begin() as db, pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "without", noted)
        assert audit.redact(db, "jörg.w@example.com", "person-1") == 2
    assert len(looked_at) <= 3 * 3, "acts of others are not read"


def test_a_persons_data_can_go_and_the_chain_holds(ctx: Context, house: House) -> None:
    with ctx.sessions.begin() as db:
        assert audit.redact(db, "ada@example.com", "person-1") == 5
    found = audit.verify(ctx)
    assert (found.problems, found.redacted) == ((), 5)
    assert "ada@example.com" not in str(house.stored("SELECT * FROM audit_events"))
    assert "person-1" in str(house.stored("SELECT * FROM audit_events"))

"""Secrets at rest decrypt in their own place, under a key of the ring, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select

from models.connections import KeyCheck
from models.db import make_engine, make_sessions
from models.secrets import KeyRing, Place, SecretUnreadable, check_canary, renew_canary
from models.tables import metadata

OLD, NEW = bytes(range(32)), bytes(range(100, 132))
PLACE = Place("connections", "c1", "secrets", "w1")
ring = KeyRing({"old": OLD})


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("text", ["", "s3cret", "Grüße, 世界 \x00 'quoted'", "x" * 100_000])
def test_secret_comes_back_as_it_was(text: str) -> None:
    stored = ring.encrypt(text, PLACE)
    assert ring.decrypt(stored, PLACE) == text
    assert stored.startswith("v1.old.")


def test_secret_is_nowhere_in_what_is_stored() -> None:
    stored = ring.encrypt("a-secret-of-its-own", PLACE)
    assert "a-secret-of-its-own" not in stored


@pytest.mark.parametrize("length", range(6))  # each rest of base64's groups of three
def test_secret_with_any_bit_flipped_is_refused(length: int) -> None:
    stored = ring.encrypt("x" * length, PLACE).encode()
    for index in range(len(stored)):
        for bit in range(8):
            flipped = bytearray(stored)
            flipped[index] ^= 1 << bit
            with pytest.raises(SecretUnreadable):
                ring.decrypt(flipped.decode("latin-1"), PLACE)


@pytest.mark.parametrize("stored", ["", "v1", "v1.old", "v1.old..", "v1.old.AAAA.AAAA", "plain text", "...."])
def test_text_that_was_never_encrypted_is_refused(stored: str) -> None:
    with pytest.raises(SecretUnreadable):
        ring.decrypt(stored, PLACE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, table="key_checks"),
        replace(PLACE, row="c2"),
        replace(PLACE, column="options"),
        replace(PLACE, workspace="w2"),
    ],
    ids=["table", "row", "column", "workspace"],
)
def test_secret_copied_elsewhere_is_refused(elsewhere: Place) -> None:
    stored = ring.encrypt("s3cret", PLACE)
    with pytest.raises(SecretUnreadable, match=r"enter the secret again"):
        ring.decrypt(stored, elsewhere)


def test_refusal_tells_neither_the_secret_nor_what_was_stored() -> None:
    stored = ring.encrypt("s3cret", PLACE)
    with pytest.raises(SecretUnreadable) as refusal:
        KeyRing({"other": NEW}).decrypt(stored, PLACE)
    assert "s3cret" not in str(refusal.value)
    assert stored not in str(refusal.value)
    assert refusal.value.__suppress_context__


def test_nonce_is_new_for_each_encryption() -> None:
    nonces = {ring.encrypt("the same", PLACE).split(".")[2] for _ in range(20_000)}
    assert len(nonces) == 20_000


def test_newest_key_encrypts_and_every_key_decrypts() -> None:
    before = ring.encrypt("s3cret", PLACE)
    both = KeyRing({"new": NEW, "old": OLD})
    after = both.encrypt("s3cret", PLACE)
    assert (both.decrypt(before, PLACE), both.decrypt(after, PLACE)) == ("s3cret", "s3cret")
    assert (both.is_newest(before), both.is_newest(after)) == (False, True)
    assert KeyRing({"new": NEW}).decrypt(after, PLACE) == "s3cret"


def test_same_id_with_another_key_is_refused() -> None:
    with pytest.raises(SecretUnreadable):
        KeyRing({"old": NEW}).decrypt(ring.encrypt("s3cret", PLACE), PLACE)


def test_ring_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        KeyRing({})


def test_ring_shows_no_key() -> None:
    assert repr(KeyRing({"new": NEW, "old": OLD})) == "KeyRing(new, old)"


# -- the canary ------------------------------------------------------------------------------------


def test_canary_is_written_at_the_first_start_and_read_at_each(engine: Engine) -> None:
    for _ in range(3):
        with make_sessions(engine).begin() as db:
            check_canary(db, ring)
    with make_sessions(engine).begin() as db:
        assert len(db.scalars(select(KeyCheck)).all()) == 1


def test_wrong_key_is_refused_in_one_line(engine: Engine) -> None:
    with make_sessions(engine).begin() as db:
        check_canary(db, ring)
    for wrong in (KeyRing({"old": NEW}), KeyRing({"new": NEW})):
        with make_sessions(engine).begin() as db, pytest.raises(SecretUnreadable) as refusal:
            check_canary(db, wrong)
        assert "ENCRYPTION_KEYS does not hold the key" in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_first_starts_at_the_same_moment_agree_on_one_canary(engine: Engine) -> None:
    sessions = make_sessions(engine)

    def start(_: int) -> None:
        with sessions.begin() as db:
            check_canary(db, ring)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(start, range(8)))
    with sessions.begin() as db:
        assert len(db.scalars(select(KeyCheck)).all()) == 1


def test_start_with_a_new_key_in_front_leaves_the_canary_to_processes_without_it(engine: Engine) -> None:
    sessions = make_sessions(engine)
    for each in (ring, KeyRing({"new": NEW, "old": OLD}), ring):
        with sessions.begin() as db:
            check_canary(db, each)


def test_renewed_canary_lets_the_old_key_go(engine: Engine) -> None:
    sessions, both = make_sessions(engine), KeyRing({"new": NEW, "old": OLD})
    with sessions.begin() as db:
        check_canary(db, ring)
        assert renew_canary(db, both)
        assert not renew_canary(db, both)
    with sessions.begin() as db:
        check_canary(db, KeyRing({"new": NEW}))
    with sessions.begin() as db, pytest.raises(SecretUnreadable):
        check_canary(db, ring)


def test_canary_under_a_lost_key_is_replaced_only_when_that_is_asked_for(engine: Engine) -> None:
    sessions, other = make_sessions(engine), KeyRing({"new": NEW})
    with sessions.begin() as db:
        check_canary(db, ring)
    with sessions.begin() as db, pytest.raises(SecretUnreadable):
        renew_canary(db, other)
    with sessions.begin() as db:
        assert renew_canary(db, other, even_if_unreadable=True)
    with sessions.begin() as db:
        check_canary(db, other)


def test_a_ring_goes_on_with_the_keys_that_it_is_told_of() -> None:
    told: list[dict[str, bytes]] = []
    live = KeyRing({"old": OLD}, lambda: told.pop() if told else None)
    before = live.encrypt("x", PLACE)
    told.append({"new": NEW, "old": OLD})
    between = live.encrypt("x", PLACE)
    assert (before.split(".")[1], between.split(".")[1], live.newest) == ("old", "new", "new")
    assert live.decrypt(before, PLACE) == live.decrypt(between, PLACE) == "x"
    told.append({"new": NEW})
    assert live.decrypt(between, PLACE) == "x"
    with pytest.raises(SecretUnreadable):
        live.decrypt(before, PLACE)

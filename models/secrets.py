"""Secrets at rest: AES-256-GCM with a key ring, bound to the row and column they belong to.

Stored form: `v1.<key id>.<nonce>.<ciphertext and tag>`, URL-safe base64. The associated data is
`v1|key id|table|row|column|workspace`, so that a ciphertext copied elsewhere does not decrypt.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models.connections import KeyCheck
from models.upsert import insert_or_ignore

_CANARY = "syncline canary"
_NONCE_BYTES = 12  # 96 bits, as GCM wants them


class SecretUnreadable(Exception):
    """A stored secret does not decrypt with the key ring: enter it again, or restore its key."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ciphertext belongs: it decrypts nowhere else."""

    table: str
    row: str
    column: str
    workspace: str = ""


_CANARY_PLACE = Place("key_checks", "1", "value")


def _never() -> None:
    return None


@dataclass(frozen=True, slots=True)
class _Keys:
    newest: str
    by_id: Mapping[str, AESGCM]

    @classmethod
    def of(cls, keys: Mapping[str, bytes]) -> _Keys:
        return cls(next(iter(keys)), {key_id: AESGCM(secret) for key_id, secret in keys.items()})


class KeyRing:
    """Encrypts with the newest key, decrypts with any. `keys` maps key ids to 32 bytes, newest first.

    `newer` is asked before each use: the keys to go on with, or None where nothing changed.
    """

    def __init__(
        self, keys: Mapping[str, bytes], newer: Callable[[], Mapping[str, bytes] | None] = _never
    ) -> None:
        if not keys:
            raise ValueError("a key ring needs a key")
        self._keys = _Keys.of(keys)
        self._newer = newer
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys.by_id)})"

    def _now(self) -> _Keys:
        with self._lock:  # whoever sees the change first takes it in before anybody goes on
            if found := self._newer():
                self._keys = _Keys.of(found)
            return self._keys

    @property
    def ids(self) -> list[str]:
        """The ids of all keys, the newest first."""
        return list(self._now().by_id)

    @property
    def newest(self) -> str:
        """The id of the key that encrypts."""
        return self._now().newest

    def encrypt(self, text: str, place: Place) -> str:
        nonce, keys = os.urandom(_NONCE_BYTES), self._now()
        sealed = keys.by_id[keys.newest].encrypt(nonce, text.encode(), _bound_to(keys.newest, place))
        return f"v1.{keys.newest}.{_b64(nonce)}.{_b64(sealed)}"

    def is_newest(self, stored: str) -> bool:
        """Whether this was encrypted with the newest key."""
        return stored.split(".")[1:2] == [self.newest]

    def decrypt(self, stored: str, place: Place) -> str:
        """The text that was encrypted for this place. Raises SecretUnreadable."""
        try:
            version, key_id, nonce, sealed = stored.split(".")
            key = self._now().by_id[key_id]
            if version != "v1":
                raise ValueError(version)
            return key.decrypt(_bytes(nonce), _bytes(sealed), _bound_to(key_id, place)).decode()
        except (ValueError, KeyError, InvalidTag):
            raise SecretUnreadable(
                "Its secret cannot be decrypted with the keys in ENCRYPTION_KEYS. Put its old key back, or"
                " enter the secret again."
            ) from None


def check_canary(session: Session, ring: KeyRing) -> None:
    """Raise SecretUnreadable when the ring is not the one this database was filled with.

    The first start writes the canary; several processes may do this at once.
    """
    if _canary(session) is None:
        written = {"id": 1, "value": ring.encrypt(_CANARY, _CANARY_PLACE)}
        session.execute(insert_or_ignore(session, KeyCheck).values(written))
    _read_canary(session, ring)


def renew_canary(session: Session, ring: KeyRing, *, even_if_unreadable: bool = False) -> bool:
    """Put the canary under the newest key, so that the older ones can be dropped; whether it was not.

    Only when every process has the newest key: one without it no longer starts. Raises SecretUnreadable.
    """
    if not even_if_unreadable:
        check_canary(session, ring)
    found = _canary(session)
    if found is not None and ring.is_newest(found) and _reads(ring, found):
        return False
    value = ring.encrypt(_CANARY, _CANARY_PLACE)
    session.execute(insert_or_ignore(session, KeyCheck).values(id=1, value=value))
    session.execute(update(KeyCheck).where(KeyCheck.id == 1).values(value=value))
    return True


def _read_canary(session: Session, ring: KeyRing) -> None:
    if not _reads(ring, _canary(session) or ""):
        raise SecretUnreadable(
            "ENCRYPTION_KEYS does not hold the key that this database was filled under. Put that key back."
            " If it is lost for good: syncline keys rotate --lost"
        )


def _reads(ring: KeyRing, stored: str) -> bool:
    try:
        return ring.decrypt(stored, _CANARY_PLACE) == _CANARY
    except SecretUnreadable:
        return False


def _canary(session: Session) -> str | None:
    return session.scalar(select(KeyCheck.value).where(KeyCheck.id == 1))


def _bound_to(key_id: str, place: Place) -> bytes:
    return f"v1|{key_id}|{place.table}|{place.row}|{place.column}|{place.workspace}".encode()


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii")


def _bytes(text: str) -> bytes:
    raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    if _b64(raw) != text:
        raise ValueError("written in another way than we write it")
    return raw

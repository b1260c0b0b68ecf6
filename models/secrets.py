"""Secrets at rest: AES-256-GCM with a key ring, bound to the row and column they belong to.

Stored form: `v1.<key id>.<nonce>.<ciphertext and tag>`, URL-safe base64. The associated data is
`v1|key id|table|row|column|workspace`, so that a ciphertext copied elsewhere does not decrypt.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.connections import KeyCheck

_CANARY = "syncline canary"
_NONCE_BYTES = 12


class SecretUnreadable(Exception):
    """A stored secret does not decrypt with the key ring: enter it again, or restore its key."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ciphertext belongs: it decrypts nowhere else."""

    table: str
    row: str
    column: str
    workspace: str = ""


class KeyRing:
    """Encrypts with the newest key, decrypts with any. `keys` maps key ids to 32 bytes, newest first."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("a key ring needs a key")
        self._keys = {key_id: AESGCM(secret) for key_id, secret in keys.items()}
        self.newest = next(iter(keys))

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"

    def encrypt(self, text: str, place: Place) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self.newest].encrypt(nonce, text.encode(), _bound_to(self.newest, place))
        return f"v1.{self.newest}.{_b64(nonce)}.{_b64(sealed)}"

    def decrypt(self, stored: str, place: Place) -> str:
        """The text that was encrypted for this place. Raises SecretUnreadable."""
        try:
            version, key_id, nonce, sealed = stored.split(".")
            key = self._keys[key_id]
            if version != "v1":
                raise ValueError(version)
            return key.decrypt(_bytes(nonce), _bytes(sealed), _bound_to(key_id, place)).decode()
        except (ValueError, KeyError, InvalidTag):
            raise SecretUnreadable(
                f"The {place.column} of {place.table} {place.row} cannot be decrypted with the keys in"
                " ENCRYPTION_KEYS. Put its old key back, or enter the secret again."
            ) from None


def check_canary(session: Session, ring: KeyRing) -> None:
    """Raise SecretUnreadable when the ring is not the one this database was filled with.

    The first start writes the canary; a canary under an older key of the ring is renewed.
    """
    place = Place("key_checks", "1", "value")
    row = session.scalar(select(KeyCheck).where(KeyCheck.id == 1))
    if row is None:
        session.add(KeyCheck(id=1, value=ring.encrypt(_CANARY, place)))
        return
    if ring.decrypt(row.value, place) != _CANARY:
        raise SecretUnreadable("The canary in key_checks holds another text than it should.")


def _bound_to(key_id: str, place: Place) -> bytes:
    return f"v1|{key_id}|{place.table}|{place.row}|{place.column}|{place.workspace}".encode()


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)

"""Links: the tie between one left and one right record, with its two shadows."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base, in_index

BigId = BigInteger().with_variant(Integer, "sqlite")


class LinkState(StrEnum):
    LINKED = "linked"
    EXCLUDED = "excluded"  # one side is gone or out of scope and stays so: `reason` says which
    UNLINKED = "unlinked"  # the tie was dissolved on purpose: the survivor is not created again
    TOMBSTONE = "tombstone"  # both copies are gone


# A row's newer version on the page of the older one leaves the indexes alone, as long as no key moves.
_ROOM = {"postgresql_with": {"fillfactor": 85}}


class Link(Base):
    """A slim row: what a run loads for every record. The shadows' values lie in `Shadow`."""

    __tablename__ = "links"
    __table_args__ = (
        Index(
            "uq_links_left",
            "config_id",
            "left_id",
            unique=True,
            sqlite_where=text("state <> 'tombstone'"),
            postgresql_where=text("state <> 'tombstone'"),
        ),
        Index(
            "uq_links_right",
            "config_id",
            "right_id",
            unique=True,
            sqlite_where=text("state <> 'tombstone'"),
            postgresql_where=text("state <> 'tombstone'"),
        ),
        # Pattern operators: PostgreSQL finds keys by how they begin, in any collation.
        Index("ix_links_key", "config_id", "key", postgresql_ops={"key": "varchar_pattern_ops"}),
        _ROOM,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    config_id: Mapped[str] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(String(60), default="")
    left_id: Mapped[str | None] = mapped_column(String(500))
    right_id: Mapped[str | None] = mapped_column(String(500))
    key: Mapped[str] = mapped_column(String(500), default="")  # the match key at the last agreement
    # The version that the shadow was taken from: equal means that nothing moved since the agreement.
    left_version: Mapped[str | None] = mapped_column(String(200))
    right_version: Mapped[str | None] = mapped_column(String(200))
    # In how many complete scans in a row the record was missing, and since when.
    left_missing: Mapped[int] = mapped_column(default=0)
    right_missing: Mapped[int] = mapped_column(default=0)
    missing_since: Mapped[datetime | None]
    written_at: Mapped[datetime | None]  # our own last write to either side


IS_ALIVE = in_index(Link, "uq_links_left")


class Shadow(Base):
    """What each side held, as read back, the last time both sides agreed: common names, encoded values."""

    __tablename__ = "shadows"
    __table_args__ = _ROOM

    link_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("links.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    left: Mapped[dict[str, Any]]
    right: Mapped[dict[str, Any]]
    # field -> {"side", "value", "count", "frozen"}: how often the same write was made in a row
    flaps: Mapped[dict[str, Any] | None]

"""Sign-ins to outside systems: the tokens of a connection, and consents that are under way."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class Grant(Base):
    """What a person allowed for one connection. `number` grows with each new pair of tokens."""

    __tablename__ = "grants"

    connection_id: Mapped[str] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True
    )
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    account: Mapped[str] = mapped_column(String(320))  # who signed in there; empty where it is not told
    tokens: Mapped[str] = mapped_column(Text)  # encrypted JSON: access, refresh
    number: Mapped[int] = mapped_column(Integer)
    expires_at: Mapped[datetime]  # of the access token
    refreshing_until: Mapped[datetime | None]  # somebody renews it just now, until then at most
    signed_in_by: Mapped[str] = mapped_column(String(320))
    signed_in_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]  # the system takes it no longer: sign in again
    ended_because: Mapped[str | None] = mapped_column(Text)


class Consent(Base):
    """A sign-in that a browser was sent off to, good once and for ten minutes."""

    __tablename__ = "consents"

    state_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_hash: Mapped[str] = mapped_column(String(64))  # the browser session that it was begun in
    connection_id: Mapped[str] = mapped_column(ForeignKey("connections.id", ondelete="CASCADE"))
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    verifier: Mapped[str] = mapped_column(Text)  # encrypted
    redirect_uri: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]

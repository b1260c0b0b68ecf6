"""A sync that somebody is putting together in the panel, step by step; nothing of it runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class Draft(Base):
    """What was chosen so far, as a definition would say it. Gone once the sync is made or changed."""

    __tablename__ = "drafts"
    __table_args__ = (Index("ix_drafts_workspace", "workspace_id", "updated_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    # The sync that is to be changed, and the version that the change was begun from; None: a new one.
    config_id: Mapped[str | None] = mapped_column(ForeignKey("sync_configs.id", ondelete="CASCADE"))
    version: Mapped[int | None]
    name: Mapped[str] = mapped_column(String(200), default="")
    definition: Mapped[dict[str, Any]]
    questions: Mapped[dict[str, Any]]  # "discover left" ... -> the id of a question
    # Which fields could be pairs, told once from a few records of each side: {"pairs": {left: [right, why]},
    # "match": [left ...]}. Names only: the records themselves are forgotten sooner than a draft.
    proposal: Mapped[dict[str, Any] | None]
    made_by: Mapped[str] = mapped_column(String(320))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

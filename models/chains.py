"""Chains: which configs run after which."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from models.db import Base


class ChainLink(Base):
    """`config_id` runs after `after_id` got through."""

    __tablename__ = "chain_links"

    config_id: Mapped[str] = mapped_column(
        ForeignKey("sync_configs.id", ondelete="CASCADE"), primary_key=True
    )
    after_id: Mapped[str] = mapped_column(
        ForeignKey("sync_configs.id", ondelete="CASCADE"), primary_key=True, index=True
    )

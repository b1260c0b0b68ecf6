"""sign-ins to outside systems"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.db import UtcTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _owned_by(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}_{other}"), ondelete="CASCADE"
    )


def upgrade() -> None:
    op.create_table(
        "grants",
        sa.Column("connection_id", sa.String(36), nullable=False),
        sa.Column("workspace_id", sa.String(36), nullable=False),
        sa.Column("account", sa.String(320), nullable=False),
        sa.Column("tokens", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("refreshing_until", UtcTime(), nullable=True),
        sa.Column("signed_in_by", sa.String(320), nullable=False),
        sa.Column("signed_in_at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("ended_because", sa.Text(), nullable=True),
        _owned_by("grants", "connection_id", "connections"),
        _owned_by("grants", "workspace_id", "workspaces"),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_grants")),
    )
    op.create_table(
        "consents",
        sa.Column("state_hash", sa.String(64), nullable=False),
        sa.Column("session_hash", sa.String(64), nullable=False),
        sa.Column("connection_id", sa.String(36), nullable=False),
        sa.Column("workspace_id", sa.String(36), nullable=False),
        sa.Column("verifier", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        _owned_by("consents", "connection_id", "connections"),
        _owned_by("consents", "workspace_id", "workspaces"),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_consents")),
    )


def downgrade() -> None:
    op.drop_table("consents")
    op.drop_table("grants")

"""what is kept of the calls that runs make"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.db import JsonColumn, UtcTime
from models.links import BigId

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_calls",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("side", sa.String(5), nullable=False),
        sa.Column("method", sa.String(10), nullable=False),
        sa.Column("origin", sa.String(300), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("ms", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(200), nullable=False),
        sa.Column("sent_size", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sent_headers", JsonColumn, nullable=False),
        sa.Column("sent", sa.Text(), nullable=False),
        sa.Column("headers", JsonColumn, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("changes", JsonColumn, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sync_runs.id"], name=op.f("fk_run_calls_run_id_sync_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_calls")),
    )
    op.create_index("ix_run_calls_run", "run_calls", ["run_id", "id"])


def downgrade() -> None:
    op.drop_table("run_calls")

"""creates of a first load, a row for each batch"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.db import UtcTime

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

OWNERS = {"workspace_id": "workspaces", "config_id": "sync_configs", "run_id": "sync_runs"}


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(36), nullable=False),
        *(sa.Column(name, sa.String(36), nullable=False) for name in OWNERS),
        sa.Column("side", sa.String(5), nullable=False),
        sa.Column("sent_at", UtcTime(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [name], [f"{table}.id"], name=op.f(f"fk_batches_{name}_{table}"), ondelete="CASCADE"
            )
            for name, table in OWNERS.items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index(op.f("ix_batches_config_id"), "batches", ["config_id"])


def downgrade() -> None:
    op.drop_table("batches")

"""bulk retries"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

import models.db

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bulk_retries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("chosen", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("planned_by", sa.String(length=320), nullable=False),
        sa.Column("created_at", models.db.UtcTime(), nullable=False),
        sa.Column("expires_at", models.db.UtcTime(), nullable=False),
        sa.Column("confirmed_by", sa.String(length=320), nullable=True),
        sa.Column("confirmed_at", models.db.UtcTime(), nullable=True),
        sa.Column("starts_at", models.db.UtcTime(), nullable=True),
        sa.Column("ended_because", sa.String(length=500), nullable=False),
        sa.Column("first_key", sa.String(length=500), nullable=True),
        sa.Column("first_run_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_bulk_retries_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_retries")),
    )
    with op.batch_alter_table("bulk_retries", schema=None) as batch_op:
        batch_op.create_index("ix_bulk_retries_state", ["state"], unique=False)
        batch_op.create_index("ix_bulk_retries_workspace", ["workspace_id", "created_at", "id"], unique=False)

    op.create_table(
        "bulk_parts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("bulk_id", sa.String(length=36), nullable=False),
        sa.Column("config_id", sa.String(length=36), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column(
            "keys", sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), "postgresql"), nullable=False
        ),
        sa.Column(
            "left_out",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("message", sa.String(length=500), nullable=False),
        sa.Column("preview_run_id", sa.String(length=36), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["bulk_id"],
            ["bulk_retries.id"],
            name=op.f("fk_bulk_parts_bulk_id_bulk_retries"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["config_id"],
            ["sync_configs.id"],
            name=op.f("fk_bulk_parts_config_id_sync_configs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_parts")),
    )
    with op.batch_alter_table("bulk_parts", schema=None) as batch_op:
        batch_op.create_index("ix_bulk_parts_run", ["run_id"], unique=False)
        batch_op.create_index("uq_bulk_parts_config", ["bulk_id", "config_id"], unique=True)


def downgrade() -> None:
    with op.batch_alter_table("bulk_parts", schema=None) as batch_op:
        batch_op.drop_index("uq_bulk_parts_config")
        batch_op.drop_index("ix_bulk_parts_run")

    op.drop_table("bulk_parts")
    with op.batch_alter_table("bulk_retries", schema=None) as batch_op:
        batch_op.drop_index("ix_bulk_retries_workspace")
        batch_op.drop_index("ix_bulk_retries_state")

    op.drop_table("bulk_retries")

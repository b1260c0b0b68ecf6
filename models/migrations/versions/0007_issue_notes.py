"""issue notes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import models.db

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "issue_notes",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("config_id", sa.String(length=36), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("at", models.db.UtcTime(), nullable=False),
        sa.Column("by", sa.String(length=320), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["config_id"],
            ["sync_configs.id"],
            name=op.f("fk_issue_notes_config_id_sync_configs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issue_notes")),
    )
    with op.batch_alter_table("issue_notes", schema=None) as batch_op:
        batch_op.create_index("ix_issue_notes_cause", ["config_id", "code", "id"], unique=False)

    with op.batch_alter_table("issues", schema=None) as batch_op:
        batch_op.add_column(sa.Column("muted_until", models.db.UtcTime(), nullable=True))
        batch_op.add_column(sa.Column("closed_by", sa.String(length=320), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("issues", schema=None) as batch_op:
        batch_op.drop_column("closed_by")
        batch_op.drop_column("muted_until")

    with op.batch_alter_table("issue_notes", schema=None) as batch_op:
        batch_op.drop_index("ix_issue_notes_cause")

    op.drop_table("issue_notes")

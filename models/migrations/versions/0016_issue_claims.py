"""who looks at a cause"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.db import UtcTime

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "issue_claims",
        sa.Column("config_id", sa.String(36), nullable=False),
        sa.Column("code", sa.String(60), nullable=False),
        sa.Column("by", sa.String(320), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["config_id"],
            ["sync_configs.id"],
            name=op.f("fk_issue_claims_config_id_sync_configs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("config_id", "code", name=op.f("pk_issue_claims")),
    )


def downgrade() -> None:
    op.drop_table("issue_claims")

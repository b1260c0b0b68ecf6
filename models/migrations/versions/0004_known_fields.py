"""baselines remember the streams' own fields"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.db import JsonColumn

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("baselines") as table:
        table.add_column(sa.Column("fields", JsonColumn, nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("baselines") as table:
        table.drop_column("fields")

"""the list of causes is read from an index alone"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

IS_OPEN = sa.text("closed_at IS NULL")


def upgrade() -> None:
    op.create_index(
        "ix_issues_causes",
        "issues",
        [
            "workspace_id",
            "config_id",
            "code",
            "muted",
            "opened_at",
            "retry_at",
            "muted_until",
            "id",
            "closed_at",
        ],
        sqlite_where=IS_OPEN,
        postgresql_where=IS_OPEN,
    )


def downgrade() -> None:
    op.drop_index("ix_issues_causes", "issues")

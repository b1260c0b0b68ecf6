"""what was proposed for a draft"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.db import JsonColumn

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("drafts", sa.Column("proposal", JsonColumn, nullable=True))


def downgrade() -> None:
    op.drop_column("drafts", "proposal")

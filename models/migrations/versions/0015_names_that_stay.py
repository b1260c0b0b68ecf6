"""the name by which runs remember a connection"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("connections", sa.Column("known_as", sa.String(200), nullable=True))


def downgrade() -> None:
    op.drop_column("connections", "known_as")

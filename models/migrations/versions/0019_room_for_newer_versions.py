"""links and shadows leave room on their pages, so that an update touches no index"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = ("links", "shadows")


def upgrade() -> None:
    _leave("SET (fillfactor = 85)")


def downgrade() -> None:
    _leave("RESET (fillfactor)")


def _leave(what: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            op.execute(f"ALTER TABLE {table} {what}")

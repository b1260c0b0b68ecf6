"""links that hold the number of a row in place of an id are none: their records meet again by key"""

from __future__ import annotations

from alembic import op
from sqlalchemy import column, or_, select, table, update

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

ROW = "\x1frow %"


def upgrade() -> None:
    links = table("links", column("id"), column("state"), column("left_id"), column("right_id"))
    conflicts = table(
        "conflicts", column("link_id"), column("state"), column("closed_at"), column("updated_at")
    )
    by_row = or_(links.c.left_id.like(ROW), links.c.right_id.like(ROW))
    op.execute(
        update(conflicts)
        .where(conflicts.c.state == "open", conflicts.c.link_id.in_(select(links.c.id).where(by_row)))
        .values(state="closed", closed_at=conflicts.c.updated_at)
    )
    op.execute(update(links).where(by_row).values(state="tombstone"))


def downgrade() -> None:
    """The older release pairs them by their keys as well."""

"""lists answer at any size"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# By table and name: columns, and the condition of a partial one.
_INDEXES: Mapping[str, Mapping[str, tuple[Sequence[str], str | None]]] = {
    "sync_runs": {
        "ix_sync_runs_config_state": (("config_id", "state", "created_at", "id"), None),
        "ix_sync_runs_workspace_state": (("workspace_id", "state", "created_at", "id"), None),
        "ix_sync_runs_workspace_kind": (("workspace_id", "kind", "created_at", "id", "state"), None),
        "ix_sync_runs_retry_of": (("retry_of",), "retry_of IS NOT NULL"),
    },
    "changes": {
        "ix_changes_decided": (
            ("workspace_id", "state", "created_at", "id"),
            "state IN ('held', 'approved', 'dismissed', 'withdrawn', 'expired')",
        ),
        "ix_changes_outcome": (("run_id", "state", "id"), "state NOT IN ('planned', 'sent', 'applied')"),
    },
    "conflicts": {
        "ix_conflicts_record": (("key", "config_id"), None),
        "ix_conflicts_waiting": (("workspace_id", "opened_at", "id"), "state = 'open'"),
        "ix_conflicts_over": (("workspace_id", "opened_at", "id"), "state <> 'open'"),
        "ix_conflicts_link": (("link_id",), "link_id IS NOT NULL"),
    },
    "issues": {
        "ix_issues_record": (("key", "config_id"), None),
        "ix_issues_cause": (("config_id", "code", "opened_at", "id"), None),
        "ix_issues_loud": (("config_id", "muted"), "closed_at IS NULL"),
        "ix_issues_waiting": (("workspace_id", "opened_at", "id"), "closed_at IS NULL"),
        "ix_issues_over": (("workspace_id", "opened_at", "id"), "closed_at IS NOT NULL"),
        "ix_issues_fixed": (("config_id", "code", "closed_at"), "closed_by IS NOT NULL"),
        "ix_issues_link": (("link_id",), "link_id IS NOT NULL"),
    },
    "audit_events": {
        "ix_audit_events_actor": (("workspace_id", "actor", "at", "id"), None),
        "ix_audit_events_action": (("workspace_id", "action", "at", "id"), None),
        "ix_audit_events_subject": (("workspace_id", "subject", "at", "id"), None),
    },
}
_BY_KEY = {"ix_changes_record": "changes", "ix_links_key": "links"}


def upgrade() -> None:
    for table, indexes in _INDEXES.items():
        for name, (columns, where) in indexes.items():
            condition = sa.text(where) if where else None
            op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
    _key_indexes({"key": "varchar_pattern_ops"})


def downgrade() -> None:
    _key_indexes({})
    for table, indexes in _INDEXES.items():
        for name in indexes:
            op.drop_index(name, table)


def _key_indexes(operators: Mapping[str, str]) -> None:
    """Only PostgreSQL finds keys by how they begin through an index of another kind."""
    if op.get_bind().dialect.name == "postgresql":
        for name, table in _BY_KEY.items():
            op.drop_index(name, table)
            op.create_index(name, table, ["config_id", "key"], postgresql_ops=dict(operators))

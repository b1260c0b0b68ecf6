"""people, tokens, sync-jobs, and the audit chain"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.db import JsonColumn, UtcTime
from models.links import BigId

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("chain", sa.String(length=36), nullable=False),
        sa.Column("place", BigId, nullable=False),
        sa.Column("chain_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "replies",
        sa.Column("owner", sa.String(length=80), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("location", sa.String(length=500), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("pk_replies")),
    )
    with op.batch_alter_table("replies") as table:
        table.create_index(table.f("ix_replies_created_at"), ["created_at"])

    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", JsonColumn, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=True),
        sa.Column("last_used_at", UtcTime(), nullable=True),
        sa.Column("revoked_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_api_tokens_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
    )
    with op.batch_alter_table("api_tokens") as table:
        table.create_index("ix_api_tokens_user", ["user_id", "workspace_id"])

    op.create_table(
        "invitations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("invited_by", sa.String(length=320), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("used_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_invitations_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    with op.batch_alter_table("invitations") as table:
        table.create_index("ix_invitations_workspace", ["workspace_id", "created_at", "id"])

    op.create_table(
        "sync_jobs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("workspace_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("left_connection_id", sa.String(length=36), nullable=False),
        sa.Column("right_connection_id", sa.String(length=36), nullable=False),
        sa.Column("cron", sa.String(length=100), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=12), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("streams", JsonColumn, nullable=True),
        sa.Column("owner_id", sa.String(length=36), nullable=True),
        sa.Column("created_by", sa.String(length=320), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["left_connection_id"],
            ["connections.id"],
            name=op.f("fk_sync_jobs_left_connection_id_connections"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_sync_jobs_owner_id_users")),
        sa.ForeignKeyConstraint(
            ["right_connection_id"],
            ["connections.id"],
            name=op.f("fk_sync_jobs_right_connection_id_connections"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_sync_jobs_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_jobs")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_sync_jobs_workspace_id_name")),
    )
    op.create_table(
        "sync_job_configs",
        sa.Column("config_id", sa.String(length=36), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["config_id"],
            ["sync_configs.id"],
            name=op.f("fk_sync_job_configs_config_id_sync_configs"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["sync_jobs.id"],
            name=op.f("fk_sync_job_configs_job_id_sync_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("config_id", name=op.f("pk_sync_job_configs")),
    )
    with op.batch_alter_table("sync_job_configs") as table:
        table.create_index(table.f("ix_sync_job_configs_job_id"), ["job_id"])

    with op.batch_alter_table("audit_events") as table:
        table.add_column(sa.Column("place", BigId, nullable=True))
        table.add_column(sa.Column("salt", sa.String(length=32), nullable=True))
        table.add_column(sa.Column("content_hash", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("chain_hash", sa.String(length=64), nullable=True))
        table.create_index("ix_audit_events_place", ["workspace_id", "place"])
        table.create_index(
            "ix_audit_events_unsealed",
            ["id"],
            sqlite_where=sa.text("place IS NULL"),
            postgresql_where=sa.text("place IS NULL"),
        )

    with op.batch_alter_table("users") as table:
        table.add_column(sa.Column("totp_secret", sa.Text(), nullable=True))
        table.add_column(sa.Column("totp_step", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("deletion_due_at", UtcTime(), nullable=True))
        table.add_column(sa.Column("deletion_mode", sa.String(length=10), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("users") as table:
        table.drop_column("deletion_mode")
        table.drop_column("deletion_due_at")
        table.drop_column("totp_step")
        table.drop_column("totp_secret")

    with op.batch_alter_table("audit_events") as table:
        table.drop_index(
            "ix_audit_events_unsealed",
            sqlite_where=sa.text("place IS NULL"),
            postgresql_where=sa.text("place IS NULL"),
        )
        table.drop_index("ix_audit_events_place")
        table.drop_column("chain_hash")
        table.drop_column("content_hash")
        table.drop_column("salt")
        table.drop_column("place")

    with op.batch_alter_table("sync_job_configs") as table:
        table.drop_index(table.f("ix_sync_job_configs_job_id"))

    op.drop_table("sync_job_configs")
    op.drop_table("sync_jobs")
    with op.batch_alter_table("invitations") as table:
        table.drop_index("ix_invitations_workspace")

    op.drop_table("invitations")
    with op.batch_alter_table("api_tokens") as table:
        table.drop_index("ix_api_tokens_user")

    op.drop_table("api_tokens")
    with op.batch_alter_table("replies") as table:
        table.drop_index(table.f("ix_replies_created_at"))

    op.drop_table("replies")
    op.drop_table("audit_heads")

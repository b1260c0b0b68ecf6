"""What Alembic runs: the caller (models.migrate) hands the connection in."""

from __future__ import annotations

from alembic import context

from models.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    user_module_prefix="models.db.",
)
with context.begin_transaction():
    context.run_migrations()

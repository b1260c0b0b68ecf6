"""Alembic migrations. `models.migrate` runs them; nothing here reads the environment."""

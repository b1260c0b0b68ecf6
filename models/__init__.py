"""The memory: SQLAlchemy models, one file per noun. `models.tables` imports them all."""

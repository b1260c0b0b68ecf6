"""Draft a migration from the difference between the models and an upgraded database.

    python -m models.migrations.new "what it does"

The draft is read and corrected by a person before it is committed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from models.db import make_engine
from models.migrate import _config, upgrade


def main(message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{Path(folder) / 'draft.db'}")
        upgrade(engine)
        config = _config()
        versions = Path(__file__).parent / "versions"
        number = len(list(versions.glob("0*.py"))) + 1
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")


if __name__ == "__main__":
    main(sys.argv[1])

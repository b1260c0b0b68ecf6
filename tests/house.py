"""A small installation in a folder of its own, driven by the `syncline` command as a person does."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import textwrap
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from sqlalchemy import Engine

import cli
from settings import VARIABLES, Settings
from tasks import start
from tasks.context import Context, live


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


def build(folder: Path) -> None:
    """Make the local default installation of this folder: keys, database, administrator."""
    ctx = live(Settings.from_env({}, folder=folder))
    start.command(ctx)
    start.engine_of(ctx).dispose()


class House:
    """The folder is the current one of every command."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        self.env: dict[str, str] = {}
        shutil.copytree(template / ".syncline", folder / ".syncline")
        self._engines: list[Engine] = []

    def close(self) -> None:
        for engine in self._engines:
            engine.dispose()

    # -- commands ---------------------------------------------------------------------------------

    def run(self, *args: str, stdin: str | None = None) -> Said:
        """One command in this process. Raises what the command lets through: a traceback for a person."""
        env: dict[str, str | None] = {
            name: None for name in os.environ if name.removesuffix("_FILE") in VARIABLES
        }
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            done = CliRunner().invoke(
                cli.main, list(args), input=stdin, env=env | self.env, prog_name="syncline"
            )
        finally:
            os.chdir(before)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    def json(self, *args: str, stdin: str | None = None) -> Any:
        """What the command says with `--json`."""
        return self.run(*args, "--json", stdin=stdin).value

    def apply(self, text: str, name: str = "syncline.yaml") -> Said:
        return self.run("apply", str(self.yaml(text, name)), "--json")

    # -- files ------------------------------------------------------------------------------------

    def yaml(self, text: str, name: str = "syncline.yaml") -> Path:
        return self.write(name, textwrap.dedent(text))

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def bytes_of(self, *names: str) -> Mapping[str, bytes]:
        """The files of these names, or all but our own, byte for byte."""
        paths = [self.folder / name for name in names] or [
            path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and ".syncline" not in path.parts
        ]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}

    def table(self, name: str, *statements: str) -> Path:
        """A SQLite database after these statements."""
        path = self.folder / name
        with closing(sqlite3.connect(path)) as db, db:
            for statement in statements:
                db.execute(statement)
        return path

    def rows(self, name: str, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / name)) as db:
            return db.execute(query).fetchall()

    # -- what is stored ---------------------------------------------------------------------------

    @property
    def database(self) -> Path:
        return self.folder / ".syncline" / "syncline.db"

    def dump(self) -> str:
        """Everything in our own database, as SQL."""
        with closing(sqlite3.connect(self.database)) as db:
            return "\n".join(db.iterdump())

    def stored(self, query: str) -> list[tuple[Any, ...]]:
        return self.rows(str(self.database), query)

    def store(self, statement: str, *values: Any) -> None:
        """Change our own database behind the program's back."""
        with closing(sqlite3.connect(self.database)) as db, db:
            assert db.execute(statement, values).rowcount > 0

    def ctx(self) -> Context:
        ctx = live(Settings.from_env(self.env, folder=self.folder))
        self._engines.append(start.engine_of(ctx))
        return ctx

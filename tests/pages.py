"""Pages of the documentation that are made from the code: `python -m tests.pages` writes them anew."""

from __future__ import annotations

from pathlib import Path

from settings import VARIABLES

DOCS = Path(__file__).parents[1] / "docs"

_SETTINGS = """\
# Settings

All settings come from the environment, and all have a default that suits one machine: with nothing set,
Syncline keeps its state in `./.syncline/`, makes its keys there, and starts a Redis of its own.

- Each variable may also be given as NAME_FILE, the path of a file that holds the value, such as
  `SECRET_KEY_FILE=/run/secrets/key`. Not both.
- Relative paths start at the folder that holds `.syncline/`: the current one.
- A mistake stops the start with a line that names the variable. So does a name that is nearly one of these.
- With a `DATABASE_URL` that is not SQLite this is production: `SECRET_KEY` and `ENCRYPTION_KEYS` must be set,
  and strong (make both with `syncline keys generate`). No private network, no plain http and no folder is
  open to connections then, unless you open it.
- `postgres://` and `rediss://`, as Heroku gives them, work as they are.

| variable | what it is |
|---|---|
"""


def settings_page() -> str:
    return _SETTINGS + "".join(f"| `{name}` | {said} |\n" for name, said in VARIABLES.items())


def main() -> None:
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")


if __name__ == "__main__":
    main()

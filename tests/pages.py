"""Pages of the documentation that are made from the code: `python -m tests.pages` writes them anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path

import click

import cli
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

_COMMANDS = """\
# Commands

Every command takes `--json`: then stdout is exactly one JSON value, and everything else goes to stderr. A
refusal is `{"error": code, "message": sentence}`. `-h` tells about any command.

| exit code | means |
|---|---|
| 0 | success |
| 3 | partial: something failed, is in conflict, or is held; the rest is done |
| 1 | failed: a side cannot be reached, its stream is gone, a run is active already, a check found a fault |
| 2 | a mistake in the call, the YAML, the options or the schema of a side; nothing was changed |

With nothing set, the first command makes the local database in `.syncline/` and brings it up to date. A
database that DATABASE_URL names is brought up to date by `syncline release` alone.

`syncline sync NAME --json` answers with
`{"run", "config", "status": "success | partial | failed", "left": {"read", "created", "updated", "deleted"},
"right": {...}, "unchanged", "resolved", "conflicts", "held", "failed", "excluded",
"errors": [{"key", "side", "operation", "code", "message"}], "duration_ms"}`.
Counts under a side are writes *to* that side. With `--preview` the same object says what would happen, with
`"changes": [{"side", "operation", "key", "before", "after", "state": "planned | held", "rule"}]`.

`conflicts`, `held`, `lost`, `jobs`, `users` and `tokens` alone mean their `list`.
"""

# heading -> commands, in the order in which a person meets them
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Everything on this machine": ("up", "demo", "simulate"),
    "What is configured": ("apply", "check", "discover", "rename"),
    "Runs": ("sync", "run", "retry", "cancel", "pause", "resume"),
    "What happened": ("runs", "status", "explain"),
    "What waits for a person": ("conflicts", "held", "link", "unlink", "lost", "undo"),
    "The deployment": ("jobs", "workspaces", "users", "tokens", "keys", "doctor", "release"),
}


def settings_page() -> str:
    return _SETTINGS + "".join(f"| `{name}` | {said} |\n" for name, said in VARIABLES.items())


def commands_page() -> str:
    return _COMMANDS + "".join(
        f"\n## {heading}\n" + "".join("".join(_told(name, cli.main.commands[name])) for name in names)
        for heading, names in SECTIONS.items()
    )


def _told(path: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _told(f"{path} {name}", inner)
        return
    arguments = [_usage(item) for item in command.params if isinstance(item, click.Argument)]
    yield f"\n**`{' '.join(['syncline', path, *arguments])}`** {cleandoc(command.help or '')}\n"
    options = [item for item in command.params if isinstance(item, click.Option) and item.name != "as_json"]
    if options:
        yield "\n"
    for option in options:
        value = "" if option.is_flag else f" {option.metavar or _type(option)}"
        default = f" Default: {option.default}." if option.show_default else ""
        yield f"- `{option.opts[0]}{value}` {option.help}{default}\n"


def _usage(argument: click.Argument) -> str:
    name = (argument.metavar or (argument.name or "").upper()) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _type(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "|".join(option.type.choices)
    return "N" if isinstance(option.type, click.types.IntParamType) else "TEXT"


def main() -> None:
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
    (DOCS / "commands.md").write_text(commands_page(), encoding="utf-8")


if __name__ == "__main__":
    main()

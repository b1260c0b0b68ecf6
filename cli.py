"""The `syncline` command. Each command is short: read the options, make one call, show the answer.

Imports stand inside the commands, so that `syncline --help` is quick and a command loads what it needs.
"""

from __future__ import annotations

import os
from typing import Any

import click


class _Group(click.Group):
    """Turns the errors that people can do something about into a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        from settings import SettingsError
        from tasks.local import CannotStart

        try:
            return super().invoke(ctx)
        except SettingsError as mistake:
            raise click.UsageError(str(mistake)) from None  # exit code 2
        except CannotStart as problem:
            raise click.ClickException(str(problem)) from None  # exit code 1


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keeps records in agreement between the systems that a business already uses."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that the panel listens on.")
def up(host: str) -> None:
    """Run everything on this machine: Redis, web, worker and scheduler. Ctrl-C ends it all."""
    from settings import Settings
    from tasks import local

    settings = Settings.from_env()
    machine = local.Machine(settings.home, os.environ, settings.port, settings.redis_url, host)
    local.run(machine, local.show_panel)


@main.command()
@click.option("--once", is_flag=True, help="Two runs with an edit on each side between them, then stop.")
@click.option("--reset", is_flag=True, help="Forget the demo's files and state, and stop.")
def demo(once: bool, reset: bool) -> None:
    """Run everything with a demo: a customer database and a sheet that follow each other."""
    from demo import show

    if reset:
        show.reset()
    else:
        show.run(once=once)


if __name__ == "__main__":
    main()

"""The `syncline` command. Each command is short: read the options, make one call, show the answer.

Imports stand inside the commands, so that `syncline --help` is quick and a command loads what it needs.
"""

from __future__ import annotations

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keeps records in agreement between the systems that a business already uses."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that the panel listens on.")
def up(host: str) -> None:
    """Run everything on this machine: Redis, web, worker and scheduler. Ctrl-C ends it all."""
    from tasks import local

    try:
        local.up(host=host)
    except local.CannotStart as problem:
        raise click.ClickException(str(problem)) from None


@main.command()
@click.option("--once", is_flag=True, help="Two runs with an edit on each side between them, then stop.")
@click.option("--reset", is_flag=True, help="Forget the demo's files and state, and stop.")
def demo(once: bool, reset: bool) -> None:
    """Run everything with a demo: a customer database and a sheet that follow each other."""
    from demo import show
    from tasks import local

    try:
        show.reset() if reset else show.run(once=once)
    except local.CannotStart as problem:
        raise click.ClickException(str(problem)) from None


if __name__ == "__main__":
    main()

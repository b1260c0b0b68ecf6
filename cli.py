"""The `syncline` command. Each command is short: read the options, make one call, show the answer.

Imports stand inside the commands, so that `syncline --help` is quick and a command loads what it needs.
With `--json`, stdout is exactly one JSON value, and everything else goes to stderr.

Exit codes: 0 success; 3 partial; 1 failed; 2 a mistake in the call, the YAML, the options or the schema.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from models.connections import Connection
    from models.sync_configs import SyncConfig
    from settings import Settings
    from tasks.claims import Claim
    from tasks.context import Context
    from tasks.reins import Reins
    from tasks.shift import CarryOut
    from tasks.summary import Summary

Row = TypeVar("Row", "SyncConfig", "Connection")
SUCCESS, FAILED, MISTAKE, PARTIAL = 0, 1, 2, 3
_MISTAKES = ("inactive", "paused", "take", "value", "options", "range", "email", "password")


class Refused(click.ClickException):
    """A sentence on stderr and an exit code; with `--json` also an object on stdout."""

    def __init__(self, message: str, exit_code: int, *, code: str = "refused") -> None:
        super().__init__(message)
        self.status = exit_code
        self.code = code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return self.status

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {self.message}", err=True)


def _exit_code(problem: BaseException) -> int:
    from connectors.errors import OptionsError
    from tasks.errors import DefinitionError, NotFound, WorkError

    if isinstance(problem, OptionsError | DefinitionError | NotFound):
        return MISTAKE
    if isinstance(problem, WorkError) and problem.code in _MISTAKES:
        return MISTAKE
    return FAILED


class _Group(click.Group):
    """Turns the errors that people can do something about into a sentence and an exit code.

    With `--json` anywhere in the call, a refusal is an object on stdout too.
    """

    def invoke(self, ctx: click.Context) -> Any:
        as_json = "--json" in (*ctx._protected_args, *ctx.args)  # what follows the group's own options
        try:
            return self._named(ctx)
        except click.ClickException as refusal:
            if as_json:
                code = refusal.code if isinstance(refusal, Refused) else "usage"
                click.echo(
                    json.dumps({"error": code, "message": refusal.format_message()}, ensure_ascii=False)
                )
            raise

    def _named(self, ctx: click.Context) -> Any:
        from sqlalchemy.exc import SQLAlchemyError

        from connectors.errors import ConnectorError
        from models.db import database_says
        from models.migrate import NotMigrated
        from models.secrets import SecretUnreadable
        from settings import SettingsError
        from tasks.errors import RunActive, WorkError
        from tasks.local import CannotStart
        from tasks.main import NoQueue

        try:
            return super().invoke(ctx)
        except SettingsError as mistake:
            raise Refused(str(mistake), MISTAKE, code="settings") from None
        except (CannotStart, NotMigrated, SecretUnreadable, NoQueue) as problem:
            raise Refused(str(problem), FAILED, code="start") from None
        except RunActive as active:
            way_out = f" Without a worker, cancel it first: syncline cancel {active.run_id}"
            message = active.message + (way_out if active.state == "queued" else "")
            raise Refused(message, FAILED, code=active.code) from None
        except (ConnectorError, WorkError) as problem:
            raise Refused(problem.message, _exit_code(problem), code=problem.code) from None
        except SQLAlchemyError as problem:
            raise Refused(database_says(problem), FAILED, code="database") from None
        except OSError as problem:
            if isinstance(problem, BrokenPipeError):
                raise
            raise Refused(f"{problem}.", FAILED, code="system") from None


class _Lists(click.Group):
    """A group whose bare name means its `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")


def show(as_json: bool, value: Any, lines: Iterable[str]) -> None:
    """The answer of a command, for a program or for a person."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, default=str))
    else:
        for line in lines:
            click.echo(line)


def started(*, check_keys: bool = True) -> Context:
    """The context of a command over the environment's settings."""
    from settings import Settings
    from tasks import logs, start

    settings = Settings.from_env()
    logs.set_up(
        settings.log_level if "LOG_LEVEL" in os.environ else "WARNING", settings.log_format, process="command"
    )
    ctx = connected(settings)
    start.command(ctx, check_keys=check_keys)
    return ctx


def connected(settings: Settings) -> Context:
    """The context over these settings. Its database is closed when the command ends."""
    from tasks import start
    from tasks.context import live

    ctx = live(settings)
    click.get_current_context().call_on_close(start.engine_of(ctx).dispose)
    return ctx


def with_queue() -> Context:
    """As `started`, and able to ring a worker where a queue is configured."""
    from dataclasses import replace

    from tasks import redis_server
    from tasks.broker import Bell

    ctx = started()
    url = ctx.settings.redis_url or redis_server.prepared(ctx.settings.home / "redis")
    return ctx if url is None else replace(ctx, wake=Bell(url))


def config_named(ctx: Context, name: str) -> SyncConfig:
    """The sync of this name; of several, the one in the first workspace. Raises NotFound with the nearest
    name, and WorkError where only other workspaces have several."""
    from models.sync_configs import SyncConfig

    return _named(ctx, SyncConfig, "sync", name)


def connection_named(ctx: Context, name: str) -> Connection:
    """The same for a connection."""
    from models.connections import Connection

    return _named(ctx, Connection, "connection", name)


def _named(ctx: Context, model: type[Row], what: str, name: str) -> Row:
    from sqlalchemy import select

    from sync.definition import nearest
    from tasks.errors import NotFound, WorkError
    from tasks.people import DEFAULT_WORKSPACE

    with ctx.reads() as db:
        found = db.scalars(select(model).where(model.name == name)).all()
        names = list(db.scalars(select(model.name).order_by(model.name))) if not found else []
    if not found:
        raise NotFound(f"There is no {what} '{name}'." + nearest(name, names))
    first = [row for row in found if row.workspace_id == DEFAULT_WORKSPACE] or found
    if len(first) > 1:
        raise WorkError(f"Several workspaces have a {what} '{name}': use the panel.", code="ambiguous")
    return first[0]


def whoever() -> str:
    """Who gives the command, for the records."""
    import getpass

    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):
        return "command line"


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keeps records in agreement between the systems that a business already uses."""


# -- everything on this machine -------------------------------------------------------------------


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that the panel listens on.")
@json_option
def up(host: str, as_json: bool) -> None:
    """Run everything on this machine: Redis, web, worker and scheduler. Ctrl-C ends it all."""
    from settings import Settings
    from tasks import local

    settings = Settings.from_env()
    machine = local.Machine(settings.home, os.environ, settings.port, settings.redis_url, host)

    # A link that signs an administrator in is only for the terminal of a machine of one's own.
    def sign_in() -> str:
        return local.sign_in(connected(settings)) if settings.is_local else ""

    def story(running: local.Running) -> Iterator[object]:
        if not as_json:
            yield from local.show_panel(running, sign_in)
            return
        yield from local.panel_is_up(running)
        path = sign_in()
        found = {"panel": running.address, "sign_in": f"{running.address}{path}" if path else None}
        print(json.dumps(found), file=out, flush=True)

    with _only_answers(as_json) as out:
        local.run(machine, story)


@main.command()
@click.option("--once", is_flag=True, help="Two runs with an edit on each side between them, then stop.")
@click.option("--reset", is_flag=True, help="Forget the demo's files and state, and stop.")
@click.option("--saas", is_flag=True, help="An Airtable and a Google Sheet, played here, in their place.")
@json_option
def demo(once: bool, reset: bool, saas: bool, as_json: bool) -> None:
    """Run everything with a demo: a customer database and a sheet that follow each other."""
    from demo.saas import SaasDemo
    from demo.show import Demo
    from tasks import overview

    if saas:
        with _only_answers(as_json):
            SaasDemo().run(once=once)
        return
    demo_ = Demo()
    with _only_answers(as_json):
        if reset:
            demo_.reset()
        else:
            demo_.run(once=once)
    runs = [] if reset else overview.latest_runs(connected(demo_.settings), None, 2)
    show(as_json, {"runs": runs}, ())


@main.command()
@click.argument("system")
@click.option("--port", default=0, help="The port to listen on; a free one unless given.")
@click.option(
    "--seed", default=1, show_default=True, help="Of its chance: ids, and which call meets a fault."
)
@json_option
def simulate(system: str, port: int, seed: int, as_json: bool) -> None:
    """Serve a local stand-in for SYSTEM, with a page on which to see and edit its cells. Ctrl-C ends it."""
    import random
    from datetime import UTC, datetime

    import simulators
    from simulators.base import make_http_server
    from sync.definition import nearest

    try:
        kind = simulators.get(system)
    except KeyError:
        known = simulators.names()
        raise click.BadParameter(f"There is no simulator of '{system}'.{nearest(system, known)}") from None
    chance = random.Random(seed)  # noqa: S311  nothing secret hangs on it
    simulator = kind(now=lambda: datetime.now(UTC), rand=chance.random)
    simulator.fill()
    server = make_http_server(simulator, port=port)
    url = f"http://127.0.0.1:{server.server_port}"
    hints = simulator.hints(url)
    show(as_json, {"url": url, "hints": hints}, [f"{simulator.title}, simulated: {url}", *hints])
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(SUCCESS))
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


@contextlib.contextmanager
def _only_answers(as_json: bool) -> Iterator[TextIO]:
    """The real stdout. With `--json`, what programs and stories say meanwhile goes to stderr."""
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield out


@main.command()
@json_option
def release(as_json: bool) -> None:
    """Bring the database to this release's schema; make the first workspace and administrators."""
    from settings import Settings
    from tasks import logs, start

    settings = Settings.from_env()
    logs.set_up(settings.log_level, settings.log_format, process="release")
    said = start.release(connected(settings))
    show(as_json, {"done": said}, said or ["The database is up to date."])


# -- what is configured ---------------------------------------------------------------------------


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def apply(file: Path, as_json: bool) -> None:
    """Create or update the connections and syncs that FILE describes, and say what changed."""
    from tasks import definitions

    applied = definitions.apply(started(), file, env=os.environ, by=whoever())
    lines = [
        f"{verb}: {name}" for verb in ("created", "updated", "unchanged") for name in getattr(applied, verb)
    ]
    show(as_json, vars(applied), [*lines, *(f"note: {note}" for note in applied.notes)])


@main.command()
@click.argument("connection", required=False)
@json_option
def check(connection: str | None, as_json: bool) -> None:
    """Ask each connection (or this one) with one cheap call whether it works."""
    from tasks import connections

    found = connections.check(started(), connection)
    lines = [
        f"{'ok     ' if item['ok'] else 'FAILED '} {item['connection']}: {item['message']}" for item in found
    ]
    show(
        as_json,
        found,
        lines or ["There are no connections yet. Describe them in a YAML file: syncline apply FILE"],
    )
    failed = [item["code"] for item in found if not item["ok"]]
    sys.exit(SUCCESS if not failed else MISTAKE if set(failed) == {"options"} else FAILED)


@main.command()
@click.argument("connection")
@click.argument("stream", required=False)
@json_option
def discover(connection: str, stream: str | None, as_json: bool) -> None:
    """The streams of a connection, with fields, types, keys, and what is writable."""
    from tasks import connections

    found = connections.discover(started(), connection, stream)
    lines = []
    for item in found:
        why = f" (read-only: {item['read_only_because']})" if not item["writable"] else ""
        lines.append(f"{item['name']}{why}")
        for field in item["fields"]:
            marks = [mark for mark in ("key", "generated") if field[mark]]
            marks += [] if field["writable"] else ["read-only"]
            lines.append(
                f"  {field['name']}: {field['type']}{' (' + ', '.join(marks) + ')' if marks else ''}"
            )
        lines.extend(f"  note: {problem}" for problem in item["problems"])
    show(as_json, found, lines or ["This connection holds no streams."])


# -- runs -----------------------------------------------------------------------------------------


@main.command()
@click.argument("name")
@click.option("--preview", is_flag=True, help="Say what a run would do; write and change nothing.")
@click.option("--full", is_flag=True, help="Read everything, also where the sync is incremental.")
@click.option("--since", metavar="T", help="Only records modified since then, such as 2026-03-05.")
@click.option("--retry", "retry_of", metavar="RUN", help="Only the records that failed in that run.")
@json_option
def sync(
    name: str, preview: bool, full: bool, since: str | None, retry_of: str | None, as_json: bool
) -> None:
    """One run in this process: no queue and no Redis needed."""
    if sum(map(bool, (preview, since, retry_of))) > 1:
        raise click.UsageError("Only one of --preview, --since and --retry can be given.")
    ctx = started()
    config = config_named(ctx, name)
    mistakes: list[BaseException] = []
    if preview:
        summary = _preview(ctx, config, full, mistakes)
    else:
        summary = _run_here(ctx, config.id, full, since, retry_of, mistakes)
    show(as_json, summary.as_json(), _told(summary))
    sys.exit(_code_of(summary, mistakes))


def _told(summary: Summary) -> Iterator[str]:
    """A run's summary as a person reads it."""
    yield f"{summary.config}: {summary.status}. {summary.line()}"
    for note in summary.notes:
        yield f"  {note}"
    for item in summary.changes or ():
        will = "held" if item["state"] == "held" else "would"
        yield f"  {will}: {item['operation']} {item['key']} on {item['side']} ({item['rule']})"
    for demand in summary.cost or ():
        yield f"  {demand['sentence']}"
    for error in summary.errors:
        about = " ".join(part for part in (error.side, error.operation, error.key) if part)
        yield f"  {about}: {error.message}" if about else f"  {error.message}"


def _code_of(summary: Summary, mistakes: list[BaseException]) -> int:
    if summary.status == "failed":
        return _exit_code(mistakes[0]) if mistakes else FAILED
    return PARTIAL if summary.status == "partial" else SUCCESS


def _preview(ctx: Context, config: SyncConfig, full: bool, mistakes: list[BaseException]) -> Summary:
    from connectors.errors import ConnectorError
    from tasks import execute, runs
    from tasks.errors import WorkError
    from tasks.sides import opened
    from tasks.summary import RunError, Summary

    if not config.active:
        runs.must_be_runnable(config)
    run_id, began = ctx.new_id(), ctx.now()
    try:
        with opened(ctx, config.id) as pairing:
            summary = execute.preview(ctx, pairing, run_id=run_id, full=full)
    except (ConnectorError, WorkError) as problem:
        mistakes.append(problem)
        error = RunError(key="", side="", operation="", code=problem.code, message=problem.message)
        summary = Summary(run_id, config.name, "failed", errors=[error], changes=[])
    summary.duration_ms = int((ctx.now() - began).total_seconds() * 1000)
    return summary


def _run_here(
    ctx: Context,
    config_id: str,
    full: bool,
    since: str | None,
    retry_of: str | None,
    mistakes: list[BaseException],
) -> Summary:
    from models.sync_runs import RunKind
    from sync.values import FieldType, ValueProblem, iso, parse
    from tasks import replay, shift

    signal.signal(signal.SIGTERM, lambda *_: ctx.stop.set())
    keys = replay.keys_of(ctx, retry_of, config_id) if retry_of is not None else None
    options: dict[str, Any] = {} if keys is None else {"keys": keys}
    kind = RunKind.RETRY if retry_of else RunKind.MANUAL
    if since is not None:
        try:
            options["since"], kind, full = iso(parse(since, FieldType.DATETIME)), RunKind.BACKFILL, True
        except ValueProblem as problem:
            raise click.UsageError(f"--since: {problem}") from None
    return shift.run_here(
        ctx,
        config_id,
        asked_by=whoever(),
        kind=kind,
        full=full,
        options=options,
        retry_of=retry_of,
        carry_out=_noting(mistakes),
    )


def _noting(mistakes: list[BaseException]) -> CarryOut:
    """What carries out a run, and keeps the error that ended it: the exit code goes by its kind."""
    from tasks import execute

    def carry_out(ctx: Context, claim: Claim, reins: Reins) -> Summary:
        try:
            return execute.carry_out(ctx, claim, reins)
        except Exception as problem:
            mistakes.append(problem)
            raise

    return carry_out


@main.command()
@click.argument("name")
@click.option("--full", is_flag=True, help="Read everything, also where the sync is incremental.")
@json_option
def run(name: str, full: bool, as_json: bool) -> None:
    """Queue a run of a sync, as the panel's button does."""
    from tasks import runs

    ctx = with_queue()
    run_id = runs.queue(ctx, config_named(ctx, name).id, asked_by=whoever(), full=full)
    lines = [f"Queued: run {run_id}. See it with: syncline runs {name}"]
    if not _somebody_works(ctx):
        lines.append("No worker is up: it waits for one. `syncline sync` runs a sync without any.")
    show(as_json, {"run": run_id}, lines)


@main.command()
@click.argument("run_id", metavar="RUN")
@click.option("--key", help="Only the record with this key.")
@json_option
def retry(run_id: str, key: str | None, as_json: bool) -> None:
    """Queue a run that takes up again what failed in RUN and is not fixed yet."""
    from tasks import retries

    found = retries.retry_run(with_queue(), run_id, by=whoever(), key=key)
    what = f"{len(found.keys)} of its records" if found.keys is not None else "all of it"
    show(as_json, {"run": found.run_id, "keys": found.keys}, [f"Queued: run {found.run_id}, for {what}."])


@main.command()
@click.argument("run_id", metavar="RUN")
@json_option
def cancel(run_id: str, as_json: bool) -> None:
    """Cancel a run: at once if it waits, at its next batch if it is running."""
    from tasks import runs

    state = runs.cancel(with_queue(), run_id, by=whoever())
    said = "Cancelled." if state == "cancelled" else "It stops at its next batch; what is done stays done."
    show(as_json, {"run": run_id, "state": str(state)}, [said])


@main.command()
@click.argument("name")
@click.option("--reason", default="", help="Why; people see it beside the sync.")
@json_option
def pause(name: str, reason: str, as_json: bool) -> None:
    """Let a sync start no more runs until it is resumed."""
    from tasks import configs

    ctx = started()
    configs.pause(ctx, config_named(ctx, name).id, by=whoever(), reason=reason)
    show(
        as_json, {"config": name, "paused": True}, [f"'{name}' is paused. Go on with: syncline resume {name}"]
    )


@main.command()
@click.argument("kind", type=click.Choice(["sync", "connection"]))
@click.argument("name")
@click.argument("new_name")
@json_option
def rename(kind: str, name: str, new_name: str, as_json: bool) -> None:
    """Give a sync or a connection another name. Say it in the YAML file too, or `apply` makes another one."""
    from tasks import naming

    ctx = started()
    if kind == "sync":
        naming.rename_config(ctx, config_named(ctx, name).id, new_name, by=whoever())
    else:
        naming.rename_connection(ctx, connection_named(ctx, name).id, new_name, by=whoever())
    show(as_json, {kind: new_name}, [f"'{name}' is called '{new_name}' now."])


@main.command()
@click.argument("name")
@json_option
def resume(name: str, as_json: bool) -> None:
    """Let a paused sync run again, from its next slot on."""
    from tasks import configs

    ctx = started()
    configs.resume(ctx, config_named(ctx, name).id, by=whoever())
    show(as_json, {"config": name, "paused": False}, [f"'{name}' runs again by its schedule."])


@main.command()
@click.argument("name", required=False)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, the newest first."
)
@json_option
def runs(name: str | None, limit: int, as_json: bool) -> None:
    """The latest runs, of all syncs or of one."""
    from tasks import overview

    ctx = started()
    found = overview.latest_runs(ctx, config_named(ctx, name).id if name else None, limit)
    lines = [
        f"{item['created_at']}  {item['state']:9}  {item['config']}  {item['line']}  ({item['run']})"
        for item in found
    ]
    show(as_json, found, lines or ["Nothing has run yet. Start one with: syncline sync NAME"])


@main.command()
@json_option
def status(as_json: bool) -> None:
    """How each sync is: its state in plain words, its last and its next run."""
    from tasks import overview

    found = overview.status(started())
    lines = [f"{item['config']}: {item['status']}. {item['sentence']}" for item in found]
    show(
        as_json, found, lines or ["There are no syncs yet. Describe one in a YAML file: syncline apply FILE"]
    )


@main.command()
@click.argument("name")
@click.argument("key")
@json_option
def explain(name: str, key: str, as_json: bool) -> None:
    """Why a record is as it is, and what the next run will do with it."""
    from tasks import explaining

    ctx = started()
    found = explaining.explain(ctx, config_named(ctx, name).id, key)
    show(as_json, found, explaining.lines(found))


# -- what waits for a person ----------------------------------------------------------------------


@main.group(cls=_Lists)
def conflicts() -> None:
    """Conflicts: both sides changed a field to different values."""


@conflicts.command("list")
@click.argument("name", required=False)
@json_option
def list_conflicts(name: str | None, as_json: bool) -> None:
    """The open conflicts, of all syncs or of one."""
    from tasks import decisions

    ctx = started()
    found = decisions.open_conflicts(ctx, config_named(ctx, name).id if name else None)
    lines = [
        f"{item['id']}  {item['config']}  {item['key']}  {item['field'] or 'edited or deleted'}:"
        f" left {item['left']!r}, right {item['right']!r}" + ("  (answered)" if item["answered"] else "")
        for item in found
    ]
    show(as_json, found, lines or ["No conflicts."])


@conflicts.command("resolve")
@click.argument("ids", nargs=-1, required=True, type=int, metavar="ID")
@click.option(
    "--take", required=True, metavar="left|right|VALUE", help="The side whose value stands, or a value."
)
@json_option
def resolve_conflicts(ids: tuple[int, ...], take: str, as_json: bool) -> None:
    """Settle conflicts: the next run writes the answer, unless a side has moved by then."""
    from tasks import decisions

    ctx = with_queue()
    queues = _somebody_works(ctx)
    found = decisions.resolve(ctx, ids, take, by=whoever(), queue=queues)
    lines = [f"{item['key']} {item['field']}: {item['sentence']}" for item in found]
    show(as_json, found, [*lines, *_what_follows(found, queues)])


@main.group(cls=_Lists)
def held() -> None:
    """Held changes: what a guard keeps back until a person has looked at it."""


@held.command("list")
@click.argument("name", required=False)
@json_option
def list_held(name: str | None, as_json: bool) -> None:
    """The changes that wait for a person."""
    from tasks import decisions

    ctx = started()
    found = decisions.held_changes(ctx, config_named(ctx, name).id if name else None)
    lines = [
        f"{item['id']}  {item['config']}  {item['operation']} {item['key']} on {item['side']}"
        f"  ({item['guard']}: {item['because']})" + ("  approved" if item["state"] == "approved" else "")
        for item in found
    ]
    show(as_json, found, lines or ["Nothing is held."])


@held.command("approve")
@click.argument("ids", nargs=-1, type=int, metavar="ID")
@click.option("--all", "everything", is_flag=True, help="All that is held now.")
@click.option("--sync", "name", help="With --all: only of this sync.")
@json_option
def approve_held(ids: tuple[int, ...], everything: bool, name: str | None, as_json: bool) -> None:
    """Let held changes through: the next run makes exactly these, if they are still the same."""
    _decide_held("approve", ids, everything, name, as_json)


@held.command("dismiss")
@click.argument("ids", nargs=-1, type=int, metavar="ID")
@click.option("--all", "everything", is_flag=True, help="All that is held now.")
@click.option("--sync", "name", help="With --all: only of this sync.")
@json_option
def dismiss_held(ids: tuple[int, ...], everything: bool, name: str | None, as_json: bool) -> None:
    """Say no to held changes: they are not made, and not asked about again while they stay the same."""
    _decide_held("dismiss", ids, everything, name, as_json)


def _decide_held(verb: str, ids: tuple[int, ...], everything: bool, name: str | None, as_json: bool) -> None:
    from tasks import decisions

    if bool(ids) == everything:
        raise click.UsageError("Give the ids of held changes, or --all.")
    ctx = with_queue()
    config_id = config_named(ctx, name).id if name else None
    queues = _somebody_works(ctx)
    if verb == "approve":
        found = decisions.approve(ctx, ids or None, config_id=config_id, by=whoever(), queue=queues)
        following = _what_follows(found, queues)
    else:
        found = decisions.dismiss(ctx, ids or None, config_id=config_id, by=whoever())
        following = []
    lines = [f"{item['operation']} {item['key']}: {item['state']}" for item in found] or ["Nothing was held."]
    show(as_json, found, [*lines, *following])


def _somebody_works(ctx: Context) -> bool:
    """Whether a queued run would be carried out. Where nobody works it would only stand in the way."""
    from tasks import doctor

    return doctor.workers(ctx) > 0


def _what_follows(decided: list[dict[str, Any]], is_queued: bool) -> list[str]:
    if is_queued or not decided:
        return []
    names = sorted({item["config"] for item in decided})
    return [f"No worker is up here. Carry it out with: syncline sync {name}" for name in names]


@main.command()
@click.argument("name")
@click.argument("left_id")
@click.argument("right_id")
@json_option
def link(name: str, left_id: str, right_id: str, as_json: bool) -> None:
    """Say that two records are one, by their ids. Nothing is written until the next run, which takes them as
    if both had just been seen for the first time."""
    from tasks import linking

    ctx = started()
    config = config_named(ctx, name)
    link_id = linking.link(ctx, config.id, left_id, right_id, by=whoever())
    show(
        as_json,
        {"config": name, "link": link_id, "left": left_id, "right": right_id},
        [f"Linked. See what a run makes of it: syncline sync {name} --preview"],
    )


@main.command()
@click.argument("name")
@click.argument("key")
@json_option
def unlink(name: str, key: str, as_json: bool) -> None:
    """Part the copies of a record, named by its match value or by an id. Both stay as they are, and nothing
    flows between them until they are linked again."""
    from tasks import linking

    ctx = started()
    link_id = linking.pair_of(ctx, config_named(ctx, name).id, key)
    linking.unlink(ctx, link_id, by=whoever())
    show(as_json, {"config": name, "link": link_id}, [f"{key}: both copies stay, and are left alone."])


@main.group(cls=_Lists)
def lost() -> None:
    """Writes whose answer was lost, and of which no look could tell since whether they happened."""


@lost.command("list")
@click.argument("name", required=False)
@json_option
def list_lost(name: str | None, as_json: bool) -> None:
    """What nobody can tell but a person who looks."""
    from tasks import unknowns

    ctx = started()
    found = unknowns.listed(ctx, config_named(ctx, name).id if name else None)
    lines = [
        f"{item['id']}  {item['config']}  {item['operation']} {item['key']} on {item['side']}"
        f"  ({item['message']})"
        for item in found
    ]
    show(as_json, found, lines or ["Of every write it is known what became of it."])


@lost.command("not-done")
@click.argument("ids", nargs=-1, required=True, type=int, metavar="ID")
@json_option
def lost_not_done(ids: tuple[int, ...], as_json: bool) -> None:
    """You looked, and it did not happen: the next run decides it again. One that is there you link instead:
    `syncline link NAME LEFT_ID RIGHT_ID`."""
    from tasks import unknowns

    ctx = started()
    unknowns.did_not_happen(ctx, *ids, by=whoever())
    show(
        as_json,
        {"not_done": list(ids)},
        [f"{change_id}: decided again by the next run." for change_id in ids],
    )


@main.command()
@click.argument("run_id", metavar="RUN")
@json_option
def undo(run_id: str, as_json: bool) -> None:
    """Put back what a run wrote, wherever it still stands as the run left it. An undo can be undone."""
    from models.sync_runs import RunKind
    from tasks import replay, shift

    ctx = started()
    mistakes: list[BaseException] = []
    summary = shift.run_here(
        ctx,
        replay.config_of_run(ctx, run_id),
        asked_by=whoever(),
        kind=RunKind.UNDO,
        options={"run": run_id},
        carry_out=_noting(mistakes),
    )
    show(as_json, summary.as_json(), _told(summary))
    sys.exit(_code_of(summary, mistakes))


# -- jobs, people, keys, and the deployment itself -------------------------------------------------


@main.group(cls=_Lists)
def jobs() -> None:
    """Maintenance jobs: what keeps this installation tidy."""


@jobs.command("list")
@json_option
def list_jobs(as_json: bool) -> None:
    """The jobs, when each runs, and how it last went."""
    from sync.values import iso
    from tasks import jobs as jobs_

    found = [
        {
            "job": view.name,
            "does": view.sentence,
            "schedule": view.schedule,
            "enabled": view.enabled,
            "next_run_at": iso(view.next_run_at) if view.next_run_at else None,
            "last_state": view.last.state if view.last else None,
            "last_result": view.last.result if view.last else None,
        }
        for view in jobs_.listed(started())
    ]
    lines = [
        f"{item['job']}: {item['does']} {item['schedule']}." + ("" if item["enabled"] else " Switched off.")
        for item in found
    ]
    show(as_json, found, lines)


@jobs.command("run")
@click.argument("name")
@click.option("--retention-days", type=click.IntRange(1), metavar="N", help="Keep what is younger than this.")
@json_option
def run_job(name: str, retention_days: int | None, as_json: bool) -> None:
    """Carry out a job now, in this process."""
    from tasks import jobs as jobs_

    options = {} if retention_days is None else {"retention_days": retention_days}
    done = jobs_.run_now(with_queue(), name, asked_by=whoever(), options=options)
    result = {"job": name, "state": done.state, "result": done.result, "error": done.error}
    numbers = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in (done.result or {}).items())
    show(as_json, result, [f"{name}: {done.state}. {done.error or numbers}"])
    sys.exit(SUCCESS if done.state == "success" else FAILED)


@main.group(cls=_Lists)
def users() -> None:
    """The people who may sign in to the panel."""


@users.command("list")
@json_option
def list_users(as_json: bool) -> None:
    """Everybody, with their roles."""
    from tasks import people

    found = people.everyone(started())
    lines = []
    for item in found:
        roles = [f"{role} of {workspace}" for workspace, role in item["roles"].items()] or ["no role"]
        roles += [] if item["has_password"] else ["signs in by link only"]
        roles += ["disabled"] if item["disabled"] else []
        lines.append(f"{item['email']}: {', '.join(roles)}")
    show(as_json, found, lines or ["There is nobody yet."])


@users.command("add")
@click.argument("email")
@click.option(
    "--role",
    type=click.Choice(["admin", "operator", "viewer"]),
    default="viewer",
    show_default=True,
    help="What the person may do: everything, run and settle, or only look.",
)
@click.option("--name", default="", help="How the person is called.")
@json_option
def add_user(email: str, role: str, name: str, as_json: bool) -> None:
    """Let a person in, or give one who is there another role."""
    from models.people import Role
    from tasks import people

    is_new = people.add(started(), email, Role(role), by=whoever(), name=name)
    email = email.strip().lower()
    said = f"{email} {'may sign in, as' if is_new else 'was here already, and is'} {role} now."
    show(as_json, {"email": email, "role": role, "is_new": is_new}, [said])


@users.command("link")
@click.argument("email")
@json_option
def link_user(email: str, as_json: bool) -> None:
    """A link that signs a person in, once, within a quarter of an hour."""
    from tasks import people

    ctx = started()
    address = ctx.settings.public_url or f"http://127.0.0.1:{ctx.settings.port}"
    url = address + people.one_time_sign_in(ctx, email)
    show(as_json, {"email": email, "url": url}, [url])


@users.command("password")
@click.argument("email")
@json_option
def set_user_password(email: str, as_json: bool) -> None:
    """Give a person a password, asked for or read from stdin. Their open sessions end."""
    from tasks import people

    ctx = started()
    user_id = people.user_id_of(ctx, email)
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    people.set_password(ctx, user_id, password, by=whoever())
    show(as_json, {"email": email}, [f"{email} has a new password."])


@users.command("reset-code")
@click.argument("email")
@json_option
def reset_code(email: str, as_json: bool) -> None:
    """Switch a person's second factor off: their device is lost. Their open sessions end."""
    from tasks import people, second_factor

    ctx = started()
    second_factor.switch_off(ctx, people.user_id_of(ctx, email), by=whoever())
    show(as_json, {"email": email}, [f"{email} signs in by password alone now."])


@main.group(cls=_Lists)
def workspaces() -> None:
    """Workspaces: each with connections, syncs and people of its own."""


@workspaces.command("list")
@json_option
def list_workspaces(as_json: bool) -> None:
    """All workspaces, the oldest first."""
    from tasks import workspaces

    found = workspaces.listed(started())
    show(as_json, found, [f"{item['id']}  {item['name']}: {item['people']} people" for item in found])


@workspaces.command("make")
@click.argument("name")
@click.option("--admin", required=True, help="The address of the person who administers it.")
@json_option
def make_workspace(name: str, admin: str, as_json: bool) -> None:
    """Make a workspace. Whoever administers it invites the others in the panel."""
    from tasks import people, workspaces

    ctx = started()
    made = workspaces.create(ctx, name, people.user_id_of(ctx, admin), by=whoever())
    show(as_json, {"id": made, "name": name}, [f"Made {name}: {admin} administers it."])


@workspaces.command("rename")
@click.argument("name")
@click.argument("new_name")
@json_option
def rename_workspace(name: str, new_name: str, as_json: bool) -> None:
    """Give a workspace another name."""
    from tasks import workspaces

    ctx = started()
    found = workspaces.id_of(ctx, name)
    workspaces.rename(ctx, found, new_name, by=whoever())
    show(as_json, {"id": found, "name": new_name}, [f"{name} is called {new_name} now."])


@main.group(cls=_Lists)
def tokens() -> None:
    """API tokens: keys for programs, each of one person."""


@tokens.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """All tokens of the first workspace, the newest first; never the tokens themselves."""
    from tasks import tokens
    from tasks.people import DEFAULT_WORKSPACE

    found = [
        {
            "id": row.id,
            "name": row.name,
            "owner": email,
            "prefix": row.prefix,
            "scopes": row.scopes,
            "expires_at": row.expires_at,
            "last_used_at": row.last_used_at,
            "revoked": row.revoked_at is not None,
        }
        for row, email in tokens.listed(started(), DEFAULT_WORKSPACE)
    ]
    lines = [f"{item['id']}  {item['prefix']}...  {item['name']} of {item['owner']}" for item in found]
    show(as_json, found, lines or ["There are no tokens yet."])


@tokens.command("make")
@click.argument("name")
@click.option("--email", required=True, help="Whose token it is: it can do no more than they.")
@click.option("--scope", "scopes", multiple=True, required=True, help="Such as read, run, edit; repeatable.")
@click.option(
    "--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long it works."
)
@json_option
def make_token(name: str, email: str, scopes: tuple[str, ...], days: int, as_json: bool) -> None:
    """Make a token for the first workspace, and show it once."""
    from sync.definition import nearest
    from tasks import people, tokens
    from tasks.people import DEFAULT_WORKSPACE
    from tasks.rights import Capability

    known = [str(item) for item in Capability]
    for scope in scopes:
        if scope not in known:
            raise click.UsageError(f"--scope: there is no '{scope}'." + nearest(scope, known))
    ctx = started()
    user_id = people.user_id_of(ctx, email)
    made = tokens.make(
        ctx, user_id, DEFAULT_WORKSPACE, name[:100], [Capability(item) for item in scopes], days=days,
        by=whoever(),
    )  # fmt: skip
    show(as_json, {"id": made.id, "token": made.token}, [made.token])


@tokens.command("revoke")
@click.argument("token")
@json_option
def revoke_token(token: str, as_json: bool) -> None:
    """Revoke the token with this id: it opens nothing any more."""
    from tasks import tokens

    tokens.revoke(started(), token, by=whoever())
    show(as_json, {"id": token}, ["It is revoked."])


@main.group()
def keys() -> None:
    """The keys under which secrets are stored."""


@keys.command("generate")
@json_option
def generate_keys(as_json: bool) -> None:
    """A new entry for ENCRYPTION_KEYS and a new SECRET_KEY. Nothing is stored."""
    from settings import new_data_key, new_secret_key

    found = {"ENCRYPTION_KEYS": new_data_key(), "SECRET_KEY": new_secret_key()}
    show(as_json, found, [f"{name}={value}" for name, value in found.items()])


@keys.command("rotate")
@click.option("--lost", is_flag=True, help="A key is lost for good: go on without what it encrypted.")
@json_option
def rotate_keys(lost: bool, as_json: bool) -> None:
    """Put every stored secret under the newest key. May be stopped and repeated."""
    from dataclasses import asdict

    from tasks import keys as keys_

    done = keys_.rotate(started(check_keys=not lost), by=whoever(), accept_loss=lost)
    lines = [f"{done.rotated} under the newest key now, {done.current} before, {len(done.failed)} failed."]
    lines += [f"'{name}' cannot be decrypted: enter its secrets again." for name in done.failed]
    show(as_json, asdict(done), lines)
    sys.exit(FAILED if done.failed else SUCCESS)


@main.command("doctor")
@json_option
def see_doctor(as_json: bool) -> None:
    """What is wrong with this deployment: settings, database, keys, queue, processes, connections."""
    from dataclasses import asdict

    from settings import Settings, SettingsError
    from tasks import doctor, logs

    try:
        settings = Settings.from_env()
    except SettingsError as mistakes:
        found = [doctor.Finding("settings", "wrong", line) for line in str(mistakes).splitlines()]
    else:
        logs.set_up("WARNING", settings.log_format, process="command")
        found = [doctor.Finding("settings", "ok", "They can be read."), *doctor.examine(connected(settings))]
    is_well = doctor.is_well(found)
    marks = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}
    lines = [f"{marks[item.state]} {item.check}: {item.message}" for item in found]
    show(as_json, {"ok": is_well, "checks": [asdict(item) for item in found]}, lines)
    sys.exit(SUCCESS if is_well else FAILED)


if __name__ == "__main__":
    main()

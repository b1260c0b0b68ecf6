"""Both ends of a sync, opened: connection rows become connectors over their streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pydantic
from tenacity import Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_base, wait_random_exponential

from connectors import catalog
from connectors.base import Can, Connector, IdKind, StreamOptions
from connectors.errors import (
    AuthError,
    ConnectorError,
    OptionsError,
    RateLimited,
    RetryableError,
    StreamBlank,
    StreamGone,
)
from models.connections import Connection
from models.secrets import Place, SecretUnreadable
from models.sync_configs import Baseline, SyncConfig
from sync.creation import in_words, wanted_stream
from sync.definition import Blank, Built, KnownFields, MappingMistake, SyncDefinition, build
from sync.records import SIDES, Record, Side, Stream, other
from tasks import grants, redaction
from tasks.calls import CallLog
from tasks.context import Context
from tasks.errors import DefinitionError, NotFound
from tasks.quotas import LONGEST_WAIT
from tasks.reins import Reins

Answer = TypeVar("Answer")
REMOVED = "•••"
SHORTEST_SECRET = 4  # a shorter one would take harmless words out of every sentence
AT_ONCE = 200  # ids in one look-up


@dataclass(frozen=True)
class End:
    """One end of a sync: its connector, opened, and the stream that takes part."""

    side: Side
    connector: Connector
    stream: Stream
    options: StreamOptions
    connection_id: str = ""
    known_as: str = ""  # the name that its connection was made under, where it has another one now
    to_make: Stream | None = None  # what the stream will hold, which is not there yet
    is_blank: bool = False  # it is there, and lacks even the names of its fields

    @property
    def id_kind(self) -> IdKind:
        return self.connector.id_kind(self.stream, self.options)

    @property
    def key_field(self) -> str | None:
        """The single visible field that holds the record's id, where there is one."""
        return self.stream.key[0] if len(self.stream.key) == 1 else None

    @property
    def can_look_up(self) -> bool:
        return Can.LOOKUP in self.connector.can


@dataclass(frozen=True)
class Pairing:
    """A config with both ends open and its definition tied to their streams."""

    config_id: str
    name: str
    definition: SyncDefinition
    built: Built
    left: End
    right: End
    secrets: tuple[str, ...] = ()  # of both connections: what no message may contain
    known_pairs: tuple[str, ...] = ()  # what was known when it was tied, for tying it again
    known_fields: KnownFields = field(default_factory=dict)

    def clean(self, text: str) -> str:
        """What a system answered, without the secrets that it may have repeated."""
        for secret in self.secrets:
            text = text.replace(secret, REMOVED)
        return text

    def end(self, side: Side) -> End:
        return self.left if side == "left" else self.right


def connector_of(ctx: Context, connection: Connection) -> Connector:
    """The connector of a connection, its secrets decrypted. Raises OptionsError, AuthError (unreadable)."""
    try:
        secrets = secrets_of(ctx, connection)
    except SecretUnreadable as problem:
        message = f"The connection '{connection.name}' cannot be used. {problem}"
        raise AuthError(message, code="secret_unreadable") from None
    options = {**connection.options, **secrets}
    if catalog.get(connection.connector).sign_in is None:
        return ctx.connector(connection.connector, options)
    token, account = grants.SignedIn(ctx, connection.id), grants.account_of(ctx, connection.id)
    signed_in = replace(ctx, access=replace(ctx.access, token=token, account=account))
    return signed_in.connector(connection.connector, options)


def secrets_of(ctx: Context, connection: Connection) -> dict[str, Any]:
    """Raises SecretUnreadable."""
    if not connection.secrets:
        return {}
    found = dict(json.loads(ctx.ring.decrypt(connection.secrets, place_of(connection))))
    redaction.remember(found.values())
    return found


def place_of(connection: Connection) -> Place:
    return Place("connections", connection.id, "secrets", connection.workspace_id)


def definition_of(config: SyncConfig) -> SyncDefinition:
    """The stored definition as its model. Raises DefinitionError."""
    try:
        return SyncDefinition.model_validate(config.definition)
    except pydantic.ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DefinitionError(f"The sync '{config.name}' is not valid: {place}: {first['msg']}.") from None


@contextmanager
def opened(ctx: Context, config_id: str, calls: CallLog | None = None) -> Iterator[Pairing]:
    """Both ends of a config, open until the block ends. `calls` keeps what they ask the outside.

    Raises NotFound, DefinitionError, and the connector errors of opening a connection or a stream.
    """
    with ctx.reads() as db:  # closed before the outside is asked anything
        config = db.get(SyncConfig, config_id)
        if config is None:
            raise NotFound(f"There is no sync {config_id}.")
        name, definition, known = config.name, definition_of(config), list(config.known_pairs or ())
        baseline = db.get(Baseline, config_id)
        fields = dict(baseline.fields) if baseline is not None else {}
        if known and baseline is not None and definition.new_fields == "add":
            known = [*known, *(name for name in baseline.pairs if name not in known)]
        connections = {"left": config.left_connection, "right": config.right_connection}
        ids = {side: connections[side].id for side in SIDES}
        connectors = {side: connector_of(_recorded(ctx, calls, side), connections[side]) for side in SIDES}
        secrets = tuple(value for side in SIDES for value in _words_of(secrets_of(ctx, connections[side])))
    with ExitStack() as stack:
        stack.enter_context(_cleaned(secrets))
        for connector in connectors.values():
            stack.enter_context(connector)
        ends = {
            side: replace(end, known_as=connections[side].known_as or "")
            for side, end in open_ends(connectors, definition, ids).items()
        }
        built = tie(definition, ends, known_pairs=known or None, known_fields=fields)
        _only_what_never_was(ends, built, baseline)
        yield Pairing(
            config_id=config_id,
            name=name,
            definition=definition,
            built=built,
            left=ends["left"],
            right=ends["right"],
            secrets=secrets,
            known_pairs=tuple(known),
            known_fields=fields,
        )


def _recorded(ctx: Context, calls: CallLog | None, side: Side) -> Context:
    if calls is None:
        return ctx
    return replace(ctx, access=replace(ctx.access, recorder=calls.on(side)))


def _only_what_never_was(ends: Mapping[Side, End], built: Built, baseline: Baseline | None) -> None:
    """A stream that was there in the last run is missing: that is no reason to make an empty one."""
    if baseline is None or baseline.identity_hash != built.identity_hash:
        return
    for side in SIDES:
        was = baseline.left_container if side == "left" else baseline.right_container
        if ends[side].to_make is not None and was:
            name = ends[side].stream.name
            if ends[side].is_blank:
                raise StreamGone(
                    f"'{name}' on {side} had a header in the last run and is empty now. Bring its content"
                    " back (its version history has it), or point the sync elsewhere.",
                    stream=name,
                )
            raise StreamGone(
                f"'{name}' on {side} was there in the last run and is gone. `create` makes only what never"
                " was: restore it, or point the sync elsewhere.",
                stream=name,
            )


def make_missing(pairing: Pairing, reins: Reins) -> Pairing:
    """The streams that are to be made, made; a process that dies behind this finds them in its next run."""
    ends: dict[Side, End] = {side: pairing.end(side) for side in SIDES}
    for side, end in ends.items():
        wanted = end.to_make
        if wanted is None:
            continue
        reins.checkpoint()
        reins.log("info", will_make(end))
        with reins.toward(end.connection_id):
            made = call(
                lambda end=end, wanted=wanted: end.connector.create_stream(wanted, end.options),  # type: ignore[misc]
                retries=pairing.definition.retries,
            )
        reins.log("info", f"{'Wrote the header of' if end.is_blank else 'Made'} '{made.name}' on {side}.")
        ends[side] = replace(end, stream=made, to_make=None, is_blank=False)
    if ends == {side: pairing.end(side) for side in SIDES}:
        return pairing
    built = tie(
        pairing.definition,
        ends,
        known_pairs=list(pairing.known_pairs) or None,
        known_fields=pairing.known_fields,
    )
    return replace(pairing, built=built, left=ends["left"], right=ends["right"])


def will_make(end: End) -> str:
    if end.is_blank:
        return (
            f"'{end.stream.name}' on {end.side} is empty: a run writes its header, with"
            f" {in_words(end.stream)}."
        )
    return f"'{end.stream.name}' on {end.side} is not there: a run makes it, with {in_words(end.stream)}."


@contextmanager
def asked(ctx: Context, connection: Connection) -> Iterator[Connector]:
    """A connection's connector, for a short question. Its errors repeat no secret. Raises ConnectorError."""
    connector = connector_of(ctx, connection)
    with _cleaned(_words_of(secrets_of(ctx, connection))), connector:
        yield connector


def _words_of(secrets: Mapping[str, Any]) -> tuple[str, ...]:
    """What no message may contain."""
    return tuple(
        value for value in secrets.values() if isinstance(value, str) and len(value) >= SHORTEST_SECRET
    )


@contextmanager
def _cleaned(secrets: tuple[str, ...]) -> Iterator[None]:
    """Errors that pass lose the secrets that a system repeated in its answer."""
    try:
        yield
    except ConnectorError as problem:
        for secret in secrets:
            problem.message = problem.message.replace(secret, REMOVED)
        problem.args = (problem.message,)
        raise


def open_end(connector: Connector, side: Side, definition: SyncDefinition, connection_id: str = "") -> End:
    spec, options = definition.end(side), stream_options(connector, side, definition)
    stream = call(lambda: connector.stream(spec.stream, options), retries=definition.retries)
    return End(side, connector, stream, options, connection_id)


def stream_options(connector: Connector, side: Side, definition: SyncDefinition) -> StreamOptions:
    """What the sync says of one end's stream, checked. Raises OptionsError."""
    raw = dict(definition.end(side).options)
    # What one sync says once for both ends reaches those whose connector knows the word.
    known = connector.StreamOptions.model_fields
    if "header" in known:
        raw.setdefault("header", definition.header.model_dump())
    if "linked_records" in known:
        raw.setdefault("linked_records", definition.linked_records.model_dump())
    if "only_fields" in known and (names := definition.fields_on(side)):
        raw.setdefault("only_fields", names)
    column = definition.cursor and getattr(definition.cursor, side)
    if definition.cursor is not None and column and "cursor" in known:
        raw.setdefault("cursor", column)
        raw.setdefault("overlap", definition.cursor.overlap)
    try:
        parsed: StreamOptions = connector.parse_stream_options(raw)
    except OptionsError as mistake:
        raise OptionsError(f"{side}: {mistake.message}") from None
    return parsed


def open_ends(
    connectors: Mapping[Side, Connector], definition: SyncDefinition, ids: Mapping[Side, str]
) -> dict[Side, End]:
    """Both ends; one that is to be made as it will look."""

    def found_on(side: Side) -> End | StreamGone:
        try:
            return open_end(connectors[side], side, definition, ids.get(side, ""))
        except StreamGone as problem:
            if not is_to_be_made(problem, side, definition):
                raise
            return problem

    found = both(found_on, apart=all(connector.reads_apart for connector in connectors.values()))
    ends = {side: end for side, end in found.items() if isinstance(end, End)}
    gone = {side: problem for side, problem in found.items() if isinstance(problem, StreamGone)}
    if not ends:
        raise gone["right"]
    for side, missing in gone.items():
        made = planned_end(connectors[side], side, definition, ends[other(side)], ids.get(side, ""))
        ends[side] = replace(made, is_blank=isinstance(missing, StreamBlank))
    return ends


def both(ask: Callable[[Side], Answer], *, apart: bool) -> dict[Side, Answer]:
    """What both sides answer: one after the other, or at the same time where their connectors allow it."""
    if not apart:
        return {side: ask(side) for side in SIDES}
    with ThreadPoolExecutor(len(SIDES), thread_name_prefix="side") as pool:
        waiting = {side: pool.submit(copy_context().run, ask, side) for side in SIDES}
        return {side: waiting[side].result() for side in SIDES}


def is_to_be_made(problem: ConnectorError, side: Side, definition: SyncDefinition) -> bool:
    """Whether a run makes what is missing here: a header always, a whole stream with `create: true`."""
    return isinstance(problem, StreamBlank) or (
        isinstance(problem, StreamGone) and bool(definition.end(side).options.get("create"))
    )


def planned_end(
    connector: Connector, side: Side, definition: SyncDefinition, there: End, connection_id: str = ""
) -> End:
    """A missing end as it will look once it is made. Raises OptionsError."""
    options = stream_options(connector, side, definition)
    wanted = wanted_stream(definition, side, there.stream)
    return End(side, connector, connector.proposed(wanted, options), options, connection_id, to_make=wanted)


def tie(
    definition: SyncDefinition,
    ends: Mapping[Side, End],
    *,
    saving: bool = False,
    known_pairs: list[str] | None = None,
    known_fields: KnownFields | None = None,
) -> Built:
    """The definition over both streams. Raises DefinitionError that names the place in it."""
    try:
        return build(
            definition,
            {side: ends[side].stream for side in SIDES},
            {
                side: Blank(ends[side].connector.blank_is_null, ends[side].connector.omits_empty)
                for side in SIDES
            },
            saving=saving,
            known_pairs=known_pairs,
            known_fields=known_fields,
            known_as={side: ends[side].known_as for side in SIDES},
        )
    except MappingMistake as mistake:
        raise DefinitionError(mistake.message, place=mistake.place) from None


class _WaitAsAsked(wait_base):
    """What the system asked for, else exponential with full jitter."""

    def __init__(self) -> None:
        self.otherwise = wait_random_exponential(multiplier=0.5, max=10)

    def __call__(self, retry_state: Any) -> float:
        problem = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(problem, RateLimited):
            return 0.0 if problem.is_held else problem.retry_after
        return float(self.otherwise(retry_state))


def _worth_another_try(problem: BaseException) -> bool:
    if isinstance(problem, RateLimited):
        return problem.retry_after <= LONGEST_WAIT
    return isinstance(problem, RetryableError)


def call(work: Callable[[], Answer], *, retries: int, sleep: Callable[[float], None] | None = None) -> Answer:
    """One call to a system, tried again where nothing of it was done. Raises ConnectorError."""
    more: dict[str, Any] = {} if sleep is None else {"sleep": sleep}
    for attempt in Retrying(
        stop=stop_after_attempt(retries + 1),
        wait=_WaitAsAsked(),
        retry=retry_if_exception(_worth_another_try),
        reraise=True,
        **more,
    ):
        with attempt:
            return work()
    raise AssertionError("tenacity ends with an answer or an exception")


def records_at(end: End, ids: Sequence[str], *, retries: int) -> dict[str, Record]:
    """What stands under these ids now; records that are gone or cannot be read are left out."""
    found: dict[str, Record] = {}
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        looked = call(
            lambda part=part: end.connector.lookup(end.stream, end.options, part),  # type: ignore[misc]
            retries=retries,
        )
        found |= {item.id: item.record for item in looked if item.record is not None}
    return found


def probe(end: End, ids: list[str]) -> dict[str, Record | str | None]:
    """What stands under these ids: the record, None where it is gone, a reason where it can't be said.

    A record under another id than the one asked for is what the asked one was merged into.
    """
    found: dict[str, Record | str | None] = {}
    for looked in end.connector.lookup(end.stream, end.options, ids):
        if looked.state == "there" and looked.record is not None:
            found[looked.id] = looked.record
        elif looked.state == "gone":
            found[looked.id] = None
        else:
            found[looked.id] = looked.reason or "the system does not say"
    return found

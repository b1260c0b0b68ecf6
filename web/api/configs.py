"""Syncs: made, changed, deleted, paused, run. Their definition is what a YAML file says of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, WithJsonSchema
from sqlalchemy import select

from models.questions import QuestionKind
from models.sync_configs import SyncConfig
from models.sync_runs import RunKind
from tasks import backfill, configs, naming, questions, retries, runs, saving
from web import auth
from web.api.common import (
    Id,
    Name,
    PageOf,
    PageQuery,
    Reason,
    blueprint,
    by,
    config,
    page,
    request_key,
    workspace,
)
from web.api.questions import QuestionOut, ask, asked
from web.api.runs import RunOut, queued
from web.api.wire import Answer, Empty, Input, Output, operation
from web.database import act

bp = blueprint("configs")

TRIGGERS = "60 per minute"

# In the document it is the model itself (see `openapi`); here the mistakes are worded by `tasks.saving`.
Definition = Annotated[dict[str, Any], WithJsonSchema({"x-model": "SyncDefinition"})]


class ConfigOut(Output):
    id: str
    name: str
    version: int = Field(description="Grows with each change of the definition.")
    definition: Definition
    left_connection_id: str
    right_connection_id: str
    owner_id: str | None = Field(description="Whom it acts for; null: the installation.")
    active: bool
    auto: bool
    cron: str
    timezone: str
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    next_run_at: datetime | None
    created_at: datetime
    updated_at: datetime


class NewConfig(Input):
    name: Name
    definition: Definition


class ChangedConfig(Input):
    definition: Definition
    version: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="The version that was read before: refused if it moved."
    )


class ChangedName(Input):
    name: Name


class Why(Input):
    reason: Reason = ""


class RunWish(Input):
    full: bool = Field(default=False, description="Read everything, also where the sync is incremental.")
    reason: Reason = ""


class RangeWish(Input):
    since: AwareDatetime
    until: AwareDatetime | None = None
    reason: Reason = ""


class CauseWish(Input):
    code: str = Field(min_length=1, max_length=60, description="The issues' cause.")
    reason: Reason = ""


class Owner(Input):
    user_id: Id


class RecordWish(Input):
    key: str = Field(min_length=1, max_length=500, description="A match value, or an id on either side.")


@operation(
    bp, "GET", "/configs", needs="read", summary="All syncs", query=PageQuery, returns=PageOf[ConfigOut]
)
def index(query: PageQuery) -> PageOf[ConfigOut]:
    rows = select(SyncConfig).where(SyncConfig.workspace_id == workspace())
    return PageOf[ConfigOut](**page(rows, SyncConfig.created_at, SyncConfig.id, query, _shown))


@operation(
    bp, "POST", "/configs", needs="edit", summary="Make a sync", body=NewConfig, returns=ConfigOut,
    status=201, creates=True,
)  # fmt: skip
def create(body: NewConfig) -> Answer:
    """It acts for whoever makes it. Its streams are looked at afterwards: see `/configs/{config_id}/ties`."""
    made = act(
        saving.create_config, workspace(), body.name, body.definition, by=by(), owner_id=auth.person().id
    )
    _tie(made)
    return Answer(_shown(config(made)), 201, f"/api/v1/configs/{made}")


@operation(bp, "GET", "/configs/<config_id>", needs="read", summary="One sync", returns=ConfigOut)
def show(config_id: str) -> ConfigOut:
    return _shown(config(config_id))


@operation(
    bp, "PUT", "/configs/<config_id>", needs="edit", summary="Change a sync's definition",
    body=ChangedConfig, returns=ConfigOut, refuses=True,
)  # fmt: skip
def change(config_id: str, body: ChangedConfig) -> ConfigOut:
    found = config(config_id)
    if act(saving.change_config, found.id, body.definition, by=by(), version=body.version):
        _tie(found.id)
    return _shown(config(config_id))


@operation(
    bp, "PUT", "/configs/<config_id>/name", needs="edit", summary="Rename a sync", body=ChangedName,
    returns=ConfigOut, refuses=True,
)  # fmt: skip
def rename(config_id: str, body: ChangedName) -> ConfigOut:
    """Those that run after it still do. A YAML file that makes it has to say the new name too."""
    act(naming.rename_config, config(config_id).id, body.name, by=by())
    return _shown(config(config_id))


@operation(
    bp, "DELETE", "/configs/<config_id>", needs="edit", summary="Forget a sync with its links and history",
    returns=None, status=204, refuses=True,
)  # fmt: skip
def delete(config_id: str) -> None:
    """The records of both sides stay as they are."""
    act(saving.delete_config, config(config_id).id, by=by())


@operation(
    bp, "PUT", "/configs/<config_id>/owner", needs="administer", summary="Let a sync act for somebody else",
    body=Owner, returns=ConfigOut, refuses=True,
)  # fmt: skip
def give_owner(config_id: str, body: Owner) -> ConfigOut:
    found = config(config_id)
    act(saving.give_owner, found.id, body.user_id, by=by())
    return _shown(config(config_id))


@operation(
    bp, "POST", "/configs/<config_id>/pause", needs="pause", summary="Let nothing start any more",
    body=Why, returns=ConfigOut, refuses=True,
)  # fmt: skip
def pause(config_id: str, body: Why) -> ConfigOut:
    act(configs.pause, config(config_id).id, by=by(), reason=body.reason)
    return _shown(config(config_id))


@operation(
    bp, "POST", "/configs/<config_id>/resumption", needs="pause", summary="Go on after a pause",
    body=Empty, returns=ConfigOut, refuses=True,
)  # fmt: skip
def resume(config_id: str, body: Empty) -> ConfigOut:
    act(configs.resume, config(config_id).id, by=by())
    return _shown(config(config_id))


@operation(
    bp, "POST", "/configs/<config_id>/runs", needs="run", summary="Run it now", body=RunWish,
    returns=RunOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def run(config_id: str, body: RunWish) -> Answer:
    """A run that waits already is joined; while one is at work the answer is 409 with its id."""
    return _queue(config_id, RunKind.MANUAL, body)


@operation(
    bp, "POST", "/configs/<config_id>/previews", needs="run", summary="Say what a run would do",
    body=RunWish, returns=RunOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def preview(config_id: str, body: RunWish) -> Answer:
    """Nothing is written; the plan is in the run's changes, and its counts in the summary."""
    return _queue(config_id, RunKind.PREVIEW, body)


@operation(
    bp, "POST", "/configs/<config_id>/backfills", needs="run", summary="Read a stated range again",
    body=RangeWish, returns=RunOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def read_again(config_id: str, body: RangeWish) -> Answer:
    made = act(
        backfill.ask, config(config_id).id, since=body.since, until=body.until, by=by(),
        reason=body.reason, request_key=request_key(),
    )  # fmt: skip
    return queued(made)


@operation(
    bp, "POST", "/configs/<config_id>/retries", needs="retry",
    summary="Try every record again that fails with one cause", body=CauseWish, returns=RunOut, status=202,
    creates=True, limit=TRIGGERS,
)  # fmt: skip
def retry_cause(config_id: str, body: CauseWish) -> Answer:
    made = act(
        retries.retry_cause, config(config_id).id, body.code, by=by(), reason=body.reason,
        request_key=request_key(),
    )  # fmt: skip
    return queued(made.run_id)


@operation(
    bp, "POST", "/configs/<config_id>/ties", needs="run", summary="Ask whether it fits its streams",
    body=Empty, returns=QuestionOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def tie(config_id: str, body: Empty) -> Answer:
    """A mistake in the definition is told with its place in it."""
    return asked(_tie(config(config_id).id))


@operation(
    bp, "POST", "/configs/<config_id>/explanations", needs="run", summary="Ask why a record is as it is",
    body=RecordWish, returns=QuestionOut, status=202, creates=True, limit=TRIGGERS,
)  # fmt: skip
def explain(config_id: str, body: RecordWish) -> Answer:
    """Both sides are read; nothing is written."""
    return ask(config_id, QuestionKind.EXPLAIN, key=body.key)


def _queue(config_id: str, kind: RunKind, wish: RunWish) -> Answer:
    made = act(
        runs.queue, config(config_id).id, kind=kind, asked_by=by(), reason=wish.reason, full=wish.full,
        request_key=request_key(),
    )  # fmt: skip
    return queued(made)


def _tie(config_id: str) -> str:
    return act(questions.ask, workspace(), QuestionKind.TIE, by=by(), config_id=config_id)


def _shown(row: SyncConfig) -> ConfigOut:
    return ConfigOut.model_validate(row, from_attributes=True)

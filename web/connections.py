"""Connections: the list, one of them, and the forms that make and change them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from connectors import catalog
from connectors.base import Connector
from connectors.errors import OptionsError
from models.questions import QuestionKind
from tasks import naming, questions, saving
from tasks.errors import DefinitionError, NotFound, WorkError
from web import forms, options
from web.auth import needs, person
from web.database import act
from web.languages import _
from web.live import page
from web.reads import connections as reads
from web.reads import grants
from web.reads import questions as question_reads

bp = Blueprint("connections", __name__, url_prefix="/connections")


@bp.get("")
@needs("read")
def index() -> ResponseReturnValue:
    found = reads.all_of(person().workspace_id)
    return page("connections/index.html", live="connections/_list.html", found=found)


@bp.get("/new")
@needs("connect")
def choose() -> ResponseReturnValue:
    """Which system it is."""
    return page("connections/choose.html", kinds=options.kinds())


@bp.get("/new/<connector>")
@needs("connect")
def new(connector: str) -> ResponseReturnValue:
    return _form(_kind(connector), {})


@bp.post("")
@needs("connect")
def create() -> ResponseReturnValue:
    """Make it, and ask at once whether it works."""
    kind = _kind(forms.text("connector", 50))
    sent = options.read(kind.Options, request.form)
    name = forms.text("name", 200)
    try:
        made = act(saving.create_connection, person().workspace_id, name, kind.name, sent, by=person().email)
    except NotFound:
        raise
    except WorkError as problem:
        return _form(kind, sent, name=name, problem=problem)
    _ask(made)
    flash(_("%(name)s is kept. Whether it answers shows here in a moment.", name=name), "done")
    return _to(made)


@bp.get("/<connection_id>")
@needs("read")
def show(connection_id: str) -> ResponseReturnValue:
    item = _found(connection_id)
    return page(
        "connections/show.html",
        live="connections/_one.html",
        item=item,
        check=question_reads.last(connection_id, QuestionKind.CHECK),
        found=question_reads.last(connection_id, QuestionKind.DISCOVER),
        sign_in=grants.of(item.connection),
    )


@bp.get("/<connection_id>/edit")
@needs("connect")
def edit(connection_id: str) -> ResponseReturnValue:
    item = _found(connection_id).connection
    return _form(_kind(item.connector), item.options, connection_id=item.id, name=item.name)


@bp.post("/<connection_id>/edit")
@needs("connect")
def change(connection_id: str) -> ResponseReturnValue:
    """Other options. A secret that is left empty stays as it is, unless it would go to another place."""
    item = _found(connection_id).connection
    kind = _kind(item.connector)
    sent = options.read(kind.Options, request.form)
    name = forms.text("name", 200) or item.name
    try:
        changed = act(saving.change_connection, item.id, sent, by=person().email)
        changed |= act(naming.rename_connection, item.id, name, by=person().email)
    except NotFound:
        raise
    except WorkError as problem:
        return _form(kind, sent, connection_id=item.id, name=name, problem=problem)
    _ask(item.id)
    flash(
        _("Kept. Whether it answers shows here in a moment.") if changed else _("Nothing was changed."),
        "done",
    )
    return _to(item.id)


@bp.post("/<connection_id>/checks")
@needs("run")
def check(connection_id: str) -> ResponseReturnValue:
    """Ask whether it works: one cheap call, made by the control queue."""
    _ask(_found(connection_id).connection.id)
    return _to(connection_id)


@bp.post("/<connection_id>/discoveries")
@needs("run")
def discover(connection_id: str) -> ResponseReturnValue:
    """Ask what it holds."""
    _ask(_found(connection_id).connection.id, QuestionKind.DISCOVER)
    return _to(connection_id)


@bp.post("/<connection_id>/deletion")
@needs("connect")
def delete(connection_id: str) -> ResponseReturnValue:
    item = _found(connection_id).connection
    stays = act(saving.delete_connection, item.id, by=person().email)
    flash(
        _(
            "%(name)s and its secrets are forgotten. Nothing in the system itself was touched.",
            name=item.name,
        ),
        "done",
    )
    if stays:
        flash(stays, "bad")
    return redirect(url_for("connections.index"), code=303)


def _form(
    kind: type[Connector],
    values: dict[str, Any],
    *,
    name: str = "",
    connection_id: str | None = None,
    problem: WorkError | None = None,
) -> ResponseReturnValue:
    """The form; with what is wrong with it, where something is."""
    place = problem.place if isinstance(problem, DefinitionError) else ""
    at = place.removeprefix("options.") if place.startswith("options.") else ""
    kept = reads.kept_secrets(connection_id) if connection_id else ()
    response = page(
        "connections/form.html",
        kind=kind,
        name=name,
        connection_id=connection_id,
        fields=options.fields(
            kind.Options, values, kept=kept, problems={at: problem.message} if problem and at else None
        ),
        problem=None if problem is None or at else problem.message,
    )
    response.status_code = 422 if problem is not None else 200
    return response


def _ask(connection_id: str, kind: QuestionKind = QuestionKind.CHECK) -> str:
    return act(questions.ask, person().workspace_id, kind, by=person().email, connection_id=connection_id)


def _kind(name: str) -> type[Connector]:
    try:
        return catalog.get(name)
    except OptionsError:
        abort(404)


def _found(connection_id: str) -> reads.Reach:
    found = reads.one(person().workspace_id, connection_id)
    if found is None:
        abort(404)
    return found


def _to(connection_id: str) -> ResponseReturnValue:
    return redirect(url_for("connections.show", connection_id=connection_id), code=303)

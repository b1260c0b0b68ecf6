"""Lists as files: CSV that no spreadsheet takes for formulas, and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from flask import Response, abort, request

from sync.values import iso
from tasks import exports
from web.auth import person
from web.database import act

MOST = 10_000  # rows of one file; a filter makes a larger list smaller
Cell = str | int | float | bool | datetime | None

_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
_NUMBER = re.compile(r"[+\-\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d+)?")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take this cell for something to be computed."""
    if text[:1] in ("\t", "\r", "\n", "\x00"):
        return True
    shown = unicodedata.normalize("NFKC", text.strip(_INVISIBLE + " \u00a0").lstrip())
    shown = shown.strip(_INVISIBLE + " \u00a0")
    if shown[:1] in ("=", "@"):
        return True
    if shown[:1] in ("+", "-", "\u2212"):
        return not (_NUMBER.fullmatch(shown) and any(char.isdigit() for char in shown))
    return False


def safe(text: str) -> str:
    """The cell as it may stand in a CSV file: one quote before what would be a formula."""
    return f"'{text}" if is_formula(text) else text


def answer(
    what: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, form: str | None = None
) -> Response:
    """A file for download, in the form that is asked for, here or by the request's own form; audited."""
    form = form or request.form.get("form", "csv")
    if form not in ("csv", "json"):
        abort(400)
    found = [[_plain(cell) for cell in row] for row in rows]
    response = Response(
        as_csv(columns, found) if form == "csv" else as_json(columns, found),
        mimetype="text/csv" if form == "csv" else "application/json",
    )
    response.headers["Content-Disposition"] = f'attachment; filename="syncline-{what}.{form}"'
    seat = person()
    act(exports.note, what, by=seat.by, workspace_id=seat.workspace_id, rows=len(found), form=form)
    return response


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([safe(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue()


def as_json(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    found: list[Mapping[str, Cell]] = [dict(zip(columns, row, strict=True)) for row in rows]
    return json.dumps(found, ensure_ascii=False, indent=1)


def _plain(cell: Cell) -> Cell:
    """Times in UTC, whatever zone the page is shown in."""
    return iso(cell) if isinstance(cell, datetime) else cell

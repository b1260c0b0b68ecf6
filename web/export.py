"""Lists as files: CSV that no spreadsheet takes for formulas, and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from flask import Response, abort, request, stream_with_context

from sync.values import iso
from tasks import exports
from web.auth import person
from web.database import act
from web.reads.query import Export

MOST = 10_000  # rows of one file; a filter makes a larger list smaller
CHUNK = 32_000  # letters that are sent off at a time
Cell = str | int | float | bool | datetime | None

_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
_PART = re.compile(r"([;\t\r\n])([^;\t\r\n]+)")
_NUMBER = re.compile(r"[+\-\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d+)?")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take this cell for something to be computed."""
    if text[:1].isascii() and text[:1].isalnum():
        return False  # most cells: nothing that follows makes one of it
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
    """The cell as it may stand in a CSV file: one quote before what would be a formula.

    Also where one would begin in a program that splits at semicolons, tabs or line ends whatever the CSV
    quotes say, as spreadsheets of many countries do.
    """
    behind = _PART.sub(_quoted, text)
    return f"'{behind}" if is_formula(text) else behind


def _quoted(found: re.Match[str]) -> str:
    separator, part = found.groups()
    return f"{separator}'{part}" if is_formula(part.replace('"', "")) else f"{separator}{part}"


def answer(what: str, columns: Sequence[str], found: Export, *, form: str | None = None) -> Response:
    """A file for download, in the form that is asked for, here or by the request's own form.

    It is audited before its first row is read, and sent off while further ones are.
    """
    form = form or request.form.get("form", "csv")
    if form not in ("csv", "json"):
        abort(400)
    seat = person()
    act(exports.note, what, by=seat.by, workspace_id=seat.workspace_id, rows=found.number, form=form)
    rows = ([_plain(cell) for cell in row] for row in found.rows)
    response = Response(
        stream_with_context(as_csv(columns, rows) if form == "csv" else as_json(columns, rows)),
        mimetype="text/csv" if form == "csv" else "application/json",
    )
    response.headers["Content-Disposition"] = f'attachment; filename="syncline-{what}.{form}"'
    return response


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([safe(cell) if isinstance(cell, str) else cell for cell in row])
        if out.tell() > CHUNK:
            yield _taken(out)
    yield _taken(out)


def as_json(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    out = io.StringIO()
    between = "[\n"
    for row in rows:
        out.write(between + json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False))
        between = ",\n"
        if out.tell() > CHUNK:
            yield _taken(out)
    out.write("\n]\n" if between != "[\n" else "[]\n")
    yield _taken(out)


def _taken(out: io.StringIO) -> str:
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text


def _plain(cell: Cell) -> Cell:
    """Times in UTC, whatever zone the page is shown in."""
    return iso(cell) if isinstance(cell, datetime) else cell

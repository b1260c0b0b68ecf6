"""Partial answers: `fields=sheets.properties(title,sheetId)`, with `.` or `/` between the names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Mask = dict[str, "Mask"]  # empty: everything below

# What a spreadsheet may hold; `...` is anything.
_CELL: Any = {
    "userEnteredValue": ...,
    "effectiveValue": ...,
    "formattedValue": ...,
    "userEnteredFormat": ...,
    "effectiveFormat": ...,
    "hyperlink": ...,
    "note": ...,
    "textFormatRuns": ...,
    "dataValidation": ...,
}
_SHEET: Any = {
    "properties": ...,
    "merges": ...,
    "protectedRanges": ...,
    "data": {
        "startRow": ...,
        "startColumn": ...,
        "rowData": {"values": _CELL},
        "rowMetadata": ...,
        "columnMetadata": ...,
    },
    "basicFilter": ...,
    "filterViews": ...,
    "conditionalFormats": ...,
    "charts": ...,
    "bandedRanges": ...,
    "developerMetadata": ...,
    "tables": ...,
}
SPREADSHEET: Any = {
    "spreadsheetId": ...,
    "properties": ...,
    "sheets": _SHEET,
    "namedRanges": ...,
    "spreadsheetUrl": ...,
    "developerMetadata": ...,
}
BATCH: Any = {"spreadsheetId": ..., "replies": ..., "updatedSpreadsheet": SPREADSHEET}


def parse(text: str, known: Any = ...) -> Mask:
    """Raises ValueError for a mask that is badly written or names what is not there."""
    tokens = re.findall(r"[A-Za-z0-9_*]+|[,./()]", text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise ValueError(text)
    mask, place = _list(tokens, 0, known)
    if place != len(tokens):
        raise ValueError(text)
    return mask


def _list(tokens: list[str], place: int, known: Any) -> tuple[Mask, int]:
    found: Mask = {}
    while True:
        place = _path(tokens, place, known, found)
        if place >= len(tokens) or tokens[place] != ",":
            return found, place
        place += 1


def _path(tokens: list[str], place: int, known: Any, into: Mask) -> int:
    if place >= len(tokens) or tokens[place] in ",./()":
        raise ValueError("a name is missing")
    name = tokens[place]
    if name != "*" and known is not ... and name not in known:
        raise ValueError(name)
    below = ... if known is ... or name == "*" else known[name]
    inner = into.setdefault(name, {})
    place += 1
    if place < len(tokens) and tokens[place] in "./":
        return _path(tokens, place + 1, below, inner)
    if place < len(tokens) and tokens[place] == "(":
        more, place = _list(tokens, place + 1, below)
        if place >= len(tokens) or tokens[place] != ")":
            raise ValueError("a bracket is missing")
        inner.update(more)
        place += 1
    return place


def apply(mask: Mask, content: Any) -> Any:
    """The part of an answer that a mask names. What is not there leaves an empty object behind."""
    if not mask or "*" in mask:
        return content
    if isinstance(content, list):
        return [apply(mask, item) for item in content]
    if not isinstance(content, Mapping):
        return content
    return {name: apply(below, content[name]) for name, below in mask.items() if name in content}

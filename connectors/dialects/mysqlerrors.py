"""What MySQL and MariaDB answer, by its number: a refusal of one record, or what the run must do."""

from __future__ import annotations

import re

import pymysql
from sqlalchemy.engine import URL

from connectors.dialects.base import Unfit
from connectors.errors import (
    AuthError,
    ConnectorError,
    FatalError,
    OptionsError,
    StreamGone,
    Unavailable,
)

# Shutdown, killed, gone, lost, no connection, ended for standing still.
_LOST = frozenset({0, 1053, 1080, 1317, 1927, 2002, 2003, 2006, 2013, 2055, 4031})
_BUSY = {
    1205: "a row is locked by somebody else",
    1213: "another transaction stood in the way (a deadlock)",
    1020: "a row was changed by somebody else in the same moment",
    1412: "the table was changed in the meantime",
    1040: "it has too many connections",
    1203: "the user has too many connections",
    1226: "the user has used up an allowance",
    1129: "it blocks this machine after too many errors",
    1021: "its disk is full",
    1114: "the table is full",
    1041: "it has no memory left",
    1158: "the connection failed",
    1159: "the connection timed out",
    1160: "the connection failed",
    1161: "the connection timed out",
    1030: "its storage failed",
}
_NO_RIGHT = frozenset({1044, 1142, 1143, 1227, 1370, 1410})
_NO_ENTRY = frozenset({1045, 1130, 1251, 1698, 1820, 1862, 3118, 3159, 4151, 2059, 2061})
_READ_ONLY = frozenset({1290, 1792, 1836, 1874, 3100})
_TABLE_GONE = frozenset({1146, 1051, 1932, 1109})
_REFERENCE = frozenset({1216, 1217, 1451, 1452, 1701})
_RANGE = frozenset({1264, 1690, 1467})
_LONG = frozenset({1406, 1118, 1071, 1105, 3572})
_BROKEN = frozenset({1300, 1366, 3854, 3988})
_NOT_THIS = frozenset({1265, 1292, 1411, 1525, 3140, 3156, 4038, 4079, 1416, 1367})


def is_lost(error: BaseException) -> bool:
    """Whether a commit that failed like this may have happened."""
    return _number(error) in _LOST


def named(error: BaseException, place: str, url: URL) -> Unfit | ConnectorError:
    number, text = _number(error), _text(error)
    if isinstance(error, pymysql.Error):
        refused = _refusal(number, text)
        if refused is not None:
            return refused
    if number in _BUSY:
        return Unavailable(f"{place} is not ready: {_BUSY[number]}. Try again later.")
    if number in _NO_ENTRY:
        return AuthError(
            f"{place} refuses the user '{url.username or ''}': the user is unknown, may not come in from"
            " here, or the password is wrong. Enter both again."
        )
    if number in _NO_RIGHT:
        if number == 1044:
            return OptionsError(
                f"The user '{url.username or ''}' may not use the database '{url.database}'. Grant it."
            )
        return OptionsError(f"The user '{url.username or ''}' lacks a right: {text}. Grant it.")
    if number in _READ_ONLY:
        return OptionsError(f"{place} takes no changes. Sync only from it.")
    if number in _TABLE_GONE:
        return StreamGone(f"{place} was changed meanwhile: {text}.")
    if number == 1049:
        return OptionsError(f"{place} has no database '{url.database}'. Correct the URL.")
    if number == 1665:
        return OptionsError(
            f"{place} logs its changes as statements (binlog_format). Set it to ROW or MIXED to write there."
        )
    if number == 2026:
        return OptionsError(
            f"{place} offers no TLS, or its certificate cannot be verified. Check the host's name and"
            " sslmode."
        )
    if number == 2003 or (number in _LOST and "timed out" in text):
        return _not_connected(place, text)
    if number in _LOST:
        return Unavailable(f"The connection to {place} broke.")
    if isinstance(error, pymysql.ProgrammingError | pymysql.NotSupportedError) or 1000 < number < 2000:
        return OptionsError(f"{place} cannot do this: {text}.")
    return FatalError(f"{place} answers: {text} ({number}).")


def _not_connected(place: str, text: str) -> ConnectorError:
    if "certificate" in text.lower():
        return OptionsError(f"The certificate of {place} cannot be verified. Check the host's name.")
    if "refused" in text:
        return Unavailable(
            f"{place} refuses connections. Check host and port, and that the server is running."
        )
    if "timed out" in text:
        return Unavailable(f"{place} does not answer. Check host, port and firewall.")
    return Unavailable(f"The connection to {place} broke.")


def _refusal(number: int, text: str) -> Unfit | None:
    """The refusal of one record, if it is one."""
    quoted = re.findall(r"['`]((?:[^'`])*)['`]", text)
    column = re.search(r"(?:column|field) (?:`[^`]*`\.)*['`]([^'`]+)", text, re.IGNORECASE)
    name = column[1] if column else ""
    if number in (1062, 1586):
        rule = quoted[-1].rpartition(".")[2] if quoted else ""
        return Unfit("unique", f"The values of '{rule}' must be unique.", constraint=rule)
    if number in (1048, 1364, 1263):
        name = name or (quoted[0] if quoted else "")
        return Unfit("required", f"'{name}' must not be empty.", name)
    if number in _REFERENCE:
        return Unfit("reference", "A record that this one refers to, or that refers to it, forbids this.")
    if number in (3819, 4025):
        rule = quoted[0].rpartition(".")[2] if quoted else ""
        return Unfit("check", f"The table's rule '{rule}' forbids this value.")
    if number == 1153:
        return Unfit("too_long", f"The record is too large for the server: {text}.")
    if number in _LONG:
        return Unfit("too_long", f"A value is too long: {text}.", name)
    if number in _RANGE:
        return Unfit("out_of_range", f"A number is too large: {text}.", name)
    if number in _BROKEN:
        return Unfit(
            "encoding", f"The column cannot hold this text, or not all of it: {_without_value(text)}.", name
        )
    if number in _NOT_THIS:
        return Unfit("type", f"The column cannot hold this value: {_without_value(text)}.", name)
    if number in (1644, 1442, 3105, 1906, 1369):  # a trigger's own word, a generated column, a view's rule
        return Unfit("rejected", f"The database refuses the record: {text}.", name)
    return None


def _without_value(text: str) -> str:
    return re.sub(r"value: '.*?'( for|$)", r"value\1", text, flags=re.DOTALL)


def _number(error: BaseException) -> int:
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else -1


def _text(error: BaseException) -> str:
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    return " ".join(text.split()).rstrip(".")[:300]

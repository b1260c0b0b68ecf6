"""A small part of the formulas of Sheets: literals, references, + - * / & and comparison, a few functions.

What is not known comes to #NAME?, as a misspelt function does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from simulators.google_sheets_cells import Error, Plain, as_double

# The values of a range: rows of cells.
Block = list[list[Plain]]
Result = Plain | Block
Look = Callable[[str], Block]  # the values that a reference in A1 notation means

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|\"(?P<text>(?:[^\"]|\"\")*)\""
    r"|(?P<ref>(?:'(?:[^']|'')+'!|\w+!)?\$?[A-Za-z]{1,3}\$?\d*(?::\$?[A-Za-z]{1,3}\$?\d*)?(?![\w(]))"
    r"|(?P<name>[A-Za-z][\w.]*)|(?P<sign><>|<=|>=|[-+*/&=<>(),%]))"
)
_PRIORITY = {"=": 1, "<>": 1, "<": 1, ">": 1, "<=": 1, ">=": 1, "&": 2, "+": 3, "-": 3, "*": 4, "/": 4}


class _Bad(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.error = Error(text)


@dataclass
class _Tokens:
    found: list[tuple[str, str]]
    place: int = 0

    @property
    def next(self) -> tuple[str, str]:
        return self.found[self.place] if self.place < len(self.found) else ("end", "")

    def take(self, sign: str | None = None) -> tuple[str, str]:
        token = self.next
        if sign is not None and token != ("sign", sign):
            raise _Bad("#ERROR!")
        self.place += 1
        return token


def evaluate(formula: str, look: Look) -> Result:
    """What a formula (with its "=") comes to: a value, or a block that spills from its cell."""
    try:
        tokens = _Tokens(list(_split(formula[1:])))
        result = _expression(tokens, look, 0)
        if tokens.next[0] != "end":
            raise _Bad("#ERROR!")
    except _Bad as bad:
        return bad.error
    except RecursionError:
        return Error("#REF!")
    return result


def _split(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            raise _Bad("#ERROR!")
        kind = found.lastgroup or ""
        yield kind, found[kind]
        place = found.end()


def _expression(tokens: _Tokens, look: Look, least: int) -> Result:
    left = _operand(tokens, look)
    while tokens.next[0] == "sign" and _PRIORITY.get(tokens.next[1], 0) > least:
        sign = tokens.take()[1]
        right = _expression(tokens, look, _PRIORITY[sign])
        left = _each(left, right, lambda a, b, sign=sign: _apply(sign, a, b))  # type: ignore[misc]
    return left


def _operand(tokens: _Tokens, look: Look) -> Result:
    kind, text = tokens.take()
    match kind, text:
        case "number", _:
            return float(text)
        case "text", _:
            return text.replace('""', '"')
        case "ref", _ if text.upper() in ("TRUE", "FALSE"):
            return text.upper() == "TRUE"
        case "ref", _:
            block = look(text)
            return block if ":" in text else block[0][0] if block and block[0] else None
        case "name", _ if text.upper() in ("TRUE", "FALSE") and tokens.next != ("sign", "("):
            return text.upper() == "TRUE"
        case "name", _ if tokens.next == ("sign", "("):
            return _call(text.upper(), tokens, look)
        case "sign", "(":
            inner = _expression(tokens, look, 0)
            tokens.take(")")
            return inner
        case "sign", "-":
            return _each(0.0, _operand(tokens, look), lambda a, b: _apply("-", a, b))
        case "name", _:
            raise _Bad("#NAME?")
    raise _Bad("#ERROR!")


def _call(name: str, tokens: _Tokens, look: Look) -> Result:
    tokens.take("(")
    given: list[Result] = []
    while tokens.next != ("sign", ")"):
        given.append(_expression(tokens, look, 0))
        if tokens.next == ("sign", ","):
            tokens.take()
    tokens.take(")")
    values = [value for item in given for value in _flat(item)]
    numbers = [value for value in values if isinstance(value, float) and not isinstance(value, bool)]
    for value in values:
        if isinstance(value, Error):
            return value
    match name:
        case "ARRAYFORMULA" if len(given) == 1:
            return given[0]
        case "SUM":
            return as_double(sum(numbers))
        case "COUNTA":
            return float(sum(value is not None for value in values))
        case "MAX":
            return max(numbers, default=0.0)
        case "UPPER" if len(given) == 1:
            return _each(given[0], None, lambda a, _: _text(a).upper())
        case "LEN" if len(given) == 1:
            return _each(given[0], None, lambda a, _: float(len(_text(a))))
        case "NA":
            return Error("#N/A")
    raise _Bad("#NAME?")


def _flat(item: Result) -> list[Plain]:
    return [value for row in item for value in row] if isinstance(item, list) else [item]


def _each(left: Result, right: Result, apply: Callable[[Plain, Plain], Plain]) -> Result:
    """Cell by cell where one of the two is a range."""
    if not isinstance(left, list) and not isinstance(right, list):
        return apply(left, right)
    like = left if isinstance(left, list) else right
    assert isinstance(like, list)
    return [
        [apply(_at(left, row, column), _at(right, row, column)) for column in range(len(like[row]))]
        for row in range(len(like))
    ]


def _at(item: Result, row: int, column: int) -> Plain:
    if not isinstance(item, list):
        return item
    return item[row][column] if row < len(item) and column < len(item[row]) else None


def _apply(sign: str, left: Plain, right: Plain) -> Plain:
    for value in (left, right):
        if isinstance(value, Error):
            return value
    if sign == "&":
        return _text(left) + _text(right)
    if sign in ("=", "<>"):
        same = left == right or (left is None and right in ("", 0.0)) or (right is None and left in ("", 0.0))
        return same == (sign == "=")
    one, two = _number(left), _number(right)
    if one is None or two is None:
        return Error("#VALUE!")
    match sign:
        case "+":
            return as_double(one + two)
        case "-":
            return as_double(one - two)
        case "*":
            return as_double(one * two)
        case "/":
            return as_double(one / two) if two else Error("#DIV/0!")
        case "<":
            return one < two
        case ">":
            return one > two
        case "<=":
            return one <= two
    return one >= two


def _number(value: Plain) -> float | None:
    if value is None:
        return 0.0
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None if isinstance(value, Error) else float(value)


def _text(value: Plain) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return str(int(value)) if value.is_integer() else f"{value:.10g}"
        case Error():
            return value.text
    return value

"""The judge of read queries that people write: one SELECT of known parts, or a refusal with its reason.

Two readers look at a text. The first is ours: it splits the text exactly as the server would (its quotes,
escapes and comments), so that nothing hides between two ideas of where a string ends. The second is
sqlglot, which is handed what the first one understood, without comments and with plain strings only.
Everything that neither list names is refused: statements, nodes of the tree, functions.

This is the first of several layers. A query that passes still runs in a read-only transaction, with limits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from connectors.errors import OptionsError
from connectors.sqlfunctions import FUNCTIONS
from sync.values import short

Dialect = Literal["postgres", "mysql", "sqlite"]

MAX_LENGTH = 65_536
MAX_DEPTH = 40  # of parentheses and CASEs; each costs the parser some twenty frames
MAX_GROWTH = 10_000  # the size that a query may ask a function to make
MAX_SERIES = 10_000_000


def check(sql: str, dialect: Dialect, extra_functions: Iterable[str] = ()) -> None:
    """Pass a read-only query. Raises OptionsError (code `query_refused`) that says which part and why.

    `extra_functions` are names that an administrator allows beside the list.
    """
    if len(sql.encode("utf-8", "surrogatepass")) > MAX_LENGTH:
        _refuse(f"it is longer than {MAX_LENGTH // 1024} KB")
    if "\0" in sql or any("\ud800" <= sign <= "\udfff" for sign in sql):
        _refuse("it holds a character that is no text (NUL or half a character)")
    tokens = _one_statement(_split(sql, dialect))
    _check_shape(tokens)
    tree = _parsed(tokens, dialect)
    _check_root(tree, tokens)
    for node in tree.walk():
        _check_node(node, dialect)
    extra = frozenset(name.lower() for name in extra_functions)
    _check_calls(tokens, tree, dialect, extra)
    if dialect == "postgres":
        _check_fields(tokens, tree, FUNCTIONS[dialect] | extra)


_CACHE = frozenset({"sql_cache", "sql_no_cache"})


def bare(sql: str, dialect: Dialect) -> str:
    """A query that passed, without its comments and its last semicolon: fit to stand inside another one."""
    tokens = _one_statement(_split(sql, dialect))
    if dialect == "mysql":  # these say nothing any more, and no subquery may hold them
        pairs = zip([None, *tokens], tokens, strict=False)
        tokens = [
            token
            for before, token in pairs
            if token.word not in _CACHE or not before or before.word != "select"
        ]
    return "".join((" " if token.spaced else "") + token.source for token in tokens).strip()


def _refuse(why: str) -> NoReturn:
    raise OptionsError(f"The query is refused: {why}.", code="query_refused", field="query")


# -- the first reader: as the server splits the text --------------------------------------------------

_WORD = "word"
_NAME = "name"  # a quoted identifier; `value` is what stands between the quotes
_STRING = "string"
_NUMBER = "number"
_SIGN = "sign"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    value: str
    spaced: bool  # whether anything separates it from the one before
    source: str  # as it was typed

    @property
    def word(self) -> str:
        return self.value.lower() if self.kind == _WORD else ""

    def text(self, dialect: Dialect) -> str:
        """What the parser is given: strings and quoted names in a form that has one reading."""
        if self.kind == _STRING:
            return f"'{self.value if _PLAIN.fullmatch(self.value) else '?'}'"
        if self.kind == _NAME:
            quote = "`" if dialect == "mysql" else '"'
            return f"{quote}{self.value if _PLAIN.fullmatch(self.value) else 'odd name'}{quote}"
        return self.value


_PLAIN = re.compile(r"[^'\"`\\\x00-\x1f\x7f]*")
_WORDS = {
    "postgres": re.compile(r"[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*"),
    "mysql": re.compile(r"[A-Za-z_$\u0080-\uffff][\w$\u0080-\uffff]*|[0-9]+[A-Za-z_$][\w$\u0080-\uffff]*"),
    "sqlite": re.compile(r"[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*"),
}
_NUMBERS = re.compile(
    r"0[xX][0-9A-Fa-f_]+|0[bB][01_]+|0[oO][0-7_]+|([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?"
)
_DOLLAR = re.compile(r"\$([A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*)?\$")
_SPACE = re.compile(r"[ \t\r\n]+")
_LINE_END = {"postgres": re.compile(r"[\r\n]"), "mysql": re.compile(r"\n"), "sqlite": re.compile(r"\n")}


def _split(sql: str, dialect: Dialect) -> list[_Token]:
    """The tokens, without comments. Raises OptionsError for comments that are more, and open quotes."""
    tokens: list[_Token] = []
    at, spaced = 0, False
    while at < len(sql):
        if space := _SPACE.match(sql, at):
            at, spaced = space.end(), True
            continue
        end = _comment(sql, at, dialect)
        if end is not None:
            at, spaced = end, True
            continue
        token, at = _token(sql, at, dialect, spaced)
        tokens.append(token)
        spaced = False
    return tokens


def _comment(sql: str, at: int, dialect: Dialect) -> int | None:
    """Where the comment that begins here ends; None if none does."""
    if sql.startswith("/*", at):
        after = sql[at + 2 : at + 4]
        if dialect == "mysql" and (after.startswith("!") or after.upper() == "M!"):
            _refuse("a comment that begins with /*! is run by the server")
        if dialect != "sqlite" and after.startswith("+"):
            _refuse("a comment that begins with /*+ is a hint")
        return _block_end(sql, at, nested=dialect == "postgres")
    if sql.startswith("--", at):
        if dialect != "mysql" or not sql[at + 2 : at + 3] or sql[at + 2] <= " ":
            return _line_end(sql, at, dialect)
        return None  # in MySQL, 5--1 is 6
    if dialect == "mysql" and sql[at] == "#":
        return _line_end(sql, at, dialect)
    return None


def _block_end(sql: str, at: int, *, nested: bool) -> int:
    depth, place = 0, at
    for mark in re.compile(r"/\*|\*/").finditer(sql, at):
        if mark.start() < place:
            continue  # overlaps the mark before, as in /*/
        if mark[0] == "/*":
            depth = depth + 1 if nested or not depth else depth
        else:
            depth -= 1
        place = mark.end()
        if depth == 0:
            return place
    _refuse("a comment /* is not closed")


def _line_end(sql: str, at: int, dialect: Dialect) -> int:
    # The statement may not depend on where a line ends for one reader and not for another.
    found = _LINE_END[dialect].search(sql, at)
    end = found.end() if found else len(sql)
    if "\r" in sql[at:end].removesuffix("\n").removesuffix("\r"):
        _refuse("a comment holds a carriage return in its middle. Use plain line ends")
    return end


def _token(sql: str, at: int, dialect: Dialect, spaced: bool) -> tuple[_Token, int]:
    sign = sql[at]
    if quoted := _quoted(sql, at, dialect):
        kind, value, end = quoted
        return _Token(kind, value, spaced, sql[at:end]), end
    number = _NUMBERS.match(sql, at)
    word = _WORDS[dialect].match(sql, at)
    if word and (not number or word.end() > number.end()):
        for letter in word[0]:
            if not letter.isascii() and not letter.isalnum():
                _refuse(f"the sign {letter!a} stands outside of a string. Remove it, or quote the name")
        return _Token(_WORD, word[0], spaced, word[0]), word.end()
    if number:
        return _Token(_NUMBER, number[0], spaced, number[0]), number.end()
    if dialect == "mysql" and sql.startswith("\\N", at):
        return _Token(_WORD, "NULL", True, "NULL"), at + 2
    if not sign.isascii() or not sign.isprintable():
        _refuse(f"the sign {sign!a} stands outside of a string. Remove it, or quote the name")
    return _Token(_SIGN, sign, spaced, sign), at + 1


def _quoted(sql: str, at: int, dialect: Dialect) -> tuple[str, str, int] | None:
    """The kind, content and end of the string or quoted name that begins here."""
    sign = sql[at]
    if dialect == "postgres":
        prefix = sql[at : at + 3].upper()
        if prefix.startswith("E'"):
            return _STRING, *_until(sql, at + 1, "'", backslash=True)
        if prefix in ("U&'", 'U&"'):
            value, end = _until(sql, at + 2, prefix[2])
            return (_STRING if prefix[2] == "'" else _NAME), f"\\{value}", end
        if dollar := _DOLLAR.match(sql, at):
            end = sql.find(dollar[0], dollar.end())
            if end < 0:
                _refuse(f"the string that begins with {dollar[0]} is not closed")
            return _STRING, sql[dollar.end() : end], end + len(dollar[0])
    if sign == "'" or (sign == '"' and dialect == "mysql"):
        return _STRING, *_until(sql, at, sign, backslash=dialect == "mysql")
    if sign == '"' or (sign == "`" and dialect != "postgres"):
        return _NAME, *_until(sql, at, sign)
    if sign == "[" and dialect == "sqlite":
        end = sql.find("]", at)
        if end < 0:
            _refuse("the name that begins with [ is not closed")
        return _NAME, sql[at + 1 : end], end + 1
    return None


def _until(sql: str, at: int, quote: str, *, backslash: bool = False) -> tuple[str, int]:
    """The content and the end of what is quoted from `at` on. A doubled quote stands for itself."""
    marks = re.compile(rf"\\.|{quote}{quote}|{quote}" if backslash else f"{quote}{quote}|{quote}", re.DOTALL)
    for mark in marks.finditer(sql, at + 1):
        if mark[0] == quote:
            return sql[at + 1 : mark.start()], mark.end()
    _refuse(f"the text that begins with {quote} at character {at + 1} is not closed")


# -- before parsing -----------------------------------------------------------------------------------


def _one_statement(tokens: list[_Token]) -> list[_Token]:
    if tokens and _is(tokens[-1], ";"):
        tokens = tokens[:-1]
    if any(_is(token, ";") for token in tokens):
        _refuse("it holds more than one statement. Remove what stands after the semicolon")
    if not tokens:
        _refuse("it is empty")
    return tokens


def _check_shape(tokens: Sequence[_Token]) -> None:
    first = next((token for token in tokens if not _is(token, "(")), tokens[0])
    if first.word not in ("select", "with"):
        _refuse(f"it begins with {short(first.value, 30)}. A query begins with SELECT or WITH")
    depth = deepest = 0
    for token in tokens:
        if token.word == "case" or _is(token, "(") or _is(token, "["):
            depth += 1
            deepest = max(deepest, depth)
        elif token.word == "end" or _is(token, ")") or _is(token, "]"):
            depth -= 1
    if deepest > MAX_DEPTH:
        _refuse(f"it is nested more than {MAX_DEPTH} levels deep")
    for token in tokens:
        if token.word == "into":
            _refuse("INTO writes the result somewhere")


def _is(token: _Token, sign: str) -> bool:
    return token.kind == _SIGN and token.value == sign


def _parsed(tokens: Sequence[_Token], dialect: Dialect) -> exp.Expr:
    text = "".join((" " if token.spaced else "") + token.text(dialect) for token in tokens)
    try:
        found = sqlglot.parse(text, dialect=dialect)
    except RecursionError:
        _refuse("it is nested too deeply")
    except SqlglotError as problem:
        _refuse(f"it cannot be understood{_place(problem)}")
    except (ValueError, TypeError, AttributeError, LookupError):
        _refuse("it cannot be understood")  # a parser that trips has not understood
    if len(found) != 1 or found[0] is None:
        _refuse("it is not exactly one statement")
    return found[0]


def _place(problem: SqlglotError) -> str:
    errors = getattr(problem, "errors", None)
    near = errors[0].get("highlight") if errors else None
    return f" near {short(near, 30)}" if near else ""


# -- the tree -----------------------------------------------------------------------------------------


def _check_root(tree: exp.Expr, tokens: Sequence[_Token]) -> None:
    root: Any = tree
    while isinstance(root, exp.Subquery | exp.Paren):
        root = root.this
    if not isinstance(root, exp.Select | exp.SetOperation):
        _refuse(f"it is a {_called(root)} statement. Only a SELECT can be read from")


_WHY: dict[type[Any], str] = {
    exp.Into: "INTO writes the result somewhere",
    exp.Lock: "FOR UPDATE, FOR SHARE and their like lock rows",
    exp.Hint: "hints are not taken",
    exp.IndexTableHint: "index hints are not taken",
    exp.WithTableHint: "table hints are not taken",
    exp.Parameter: "variables and parameters have no value here",
    exp.SessionParameter: "server settings may not be read",
    exp.Placeholder: "parameters have no value here",
    exp.PropertyEQ: "assignments change the session",
    exp.NextValueFor: "a sequence would advance",
    exp.Command: "it holds a command",
}

_STRUCTURE: tuple[type[Any], ...] = (
    exp.Alias,
    exp.Aliases,
    exp.All,
    exp.Any,
    exp.AtTimeZone,
    exp.Between,
    exp.Binary,
    exp.BitString,
    exp.Boolean,
    exp.Bracket,
    exp.ByteString,
    exp.CTE,
    exp.CharacterSet,
    exp.Column,
    exp.ColumnDef,
    exp.Cube,
    exp.DataType,
    exp.DataTypeParam,
    exp.Distinct,
    exp.Except,
    exp.Fetch,
    exp.Filter,
    exp.From,
    exp.FromTimeZone,
    exp.Func,
    exp.Group,
    exp.GroupingSets,
    exp.Having,
    exp.HavingMax,
    exp.HexString,
    exp.Identifier,
    exp.IgnoreNulls,
    exp.In,
    exp.Interval,
    exp.Introducer,
    exp.JSON,
    exp.JSONColumnDef,
    exp.JSONKeyValue,
    exp.JSONPath,
    exp.JSONPathPart,
    exp.JSONSchema,
    exp.JSONValue,
    exp.Join,
    exp.Lateral,
    exp.Limit,
    exp.LimitOptions,
    exp.Literal,
    exp.National,
    exp.Null,
    exp.Offset,
    exp.OnCondition,
    exp.Order,
    exp.Ordered,
    exp.Partition,
    exp.PivotAlias,
    exp.PivotAny,
    exp.Predicate,
    exp.Pseudocolumn,
    exp.RawString,
    exp.RecursiveWithSearch,
    exp.RespectNulls,
    exp.Rollup,
    exp.Select,
    exp.SetOperation,
    exp.Slice,
    exp.Star,
    exp.Subquery,
    exp.SubqueryPredicate,
    exp.Table,
    exp.TableAlias,
    exp.TableSample,
    exp.Tuple,
    exp.Unary,
    exp.UnicodeString,
    exp.Unnest,
    exp.Values,
    exp.Var,
    exp.Where,
    exp.Window,
    exp.WindowSpec,
    exp.With,
    exp.WithinGroup,
)

# Relations through which a server tells of itself: its files, settings, passwords, other people's queries.
_FORBIDDEN_SCHEMAS = {
    "postgres": frozenset[str](),
    "mysql": frozenset({"mysql", "performance_schema", "sys"}),
    "sqlite": frozenset[str](),
}
_FORBIDDEN_TABLES = {
    "postgres": re.compile(
        r"pg_(settings|file_settings|db_role_setting|hba_file_rules|ident_file_mappings|config|shadow|authid"
        r"|user_mappings?|largeobject.*|stat_(activity|replication|ssl|gssapi|statements|subscription"
        r"|wal_receiver)|shmem_allocations|backend_memory_contexts|subscription|foreign_server|locks|cursors"
        r"|prepared_.*|replication_slots|statistic.*|stats.*|read_.*|ls_.*)"
    ),
    "mysql": re.compile(r"(?!)"),
    "sqlite": re.compile(r"pragma_.*|dbstat|sqlite_dbpage|sqlite_stmt|bytecode|tables_used|fsdir|zipfile"),
}
_MODIFIERS = frozenset(
    {
        "SQL_NO_CACHE", "SQL_CACHE", "SQL_SMALL_RESULT", "SQL_BIG_RESULT", "SQL_BUFFER_RESULT",
        "STRAIGHT_JOIN", "DISTINCTROW", "ALL",
    }
)  # fmt: skip


def _check_node(node: exp.Expr, dialect: Dialect) -> None:
    for kind, why in _WHY.items():
        if isinstance(node, kind):
            _refuse(why)
    if not isinstance(node, _STRUCTURE):
        _refuse(f"a part of it is {_called(node)}, which is not a part of a read query")
    if isinstance(node, exp.Select):
        for modifier in node.args.get("operation_modifiers") or ():
            if modifier.name.upper() not in _MODIFIERS:
                _refuse(f"the word {modifier.name.upper()} is not taken")
    elif isinstance(node, exp.Table):
        name = node.this.name.lower() if isinstance(node.this, exp.Identifier) else ""
        if node.db.lower() in _FORBIDDEN_SCHEMAS[dialect] or _FORBIDDEN_TABLES[dialect].fullmatch(name):
            _refuse(f"'{node.db + '.' if node.db else ''}{name}' tells of the server itself")


def _called(node: exp.Expr) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).upper()


# -- functions ----------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that may stand before a parenthesis and call nothing. All of them are words of the grammar.
_GRAMMAR = _words(
    """
    select distinct on all and or not in exists any some as from join using where having by over filter group
    when then else case between union intersect except limit offset lateral values with materialized partition
    order interval row rows array is like ilike similar rlike regexp glob match div mod xor sets cube rollup
    tablesample bernoulli system escape to against return end null isnull notnull operator recursive
    columns range groups preceding following first next fetch symmetric zone variadic search cycle
    """
)
_TYPES = _words(
    """
    varchar char character varying nchar nvarchar text numeric decimal dec number bit varbit time timestamp
    timestamptz timetz datetime year float real double int integer bigint smallint tinyint mediumint binary
    varbinary bpchar signed unsigned precision interval vector date
    """
)
# Functions that make something as large as one of their arguments says: which one that is.
_GROWING = {"repeat": 1, "space": 0, "lpad": 1, "rpad": 1, "zeroblob": 0, "randomblob": 0, "random_bytes": 0}
_FORMATTING = frozenset({"format", "printf"})
_WIDE = re.compile(r"%[^A-Za-z%]*(\*|\d{5,})")


def _check_calls(tokens: Sequence[_Token], tree: exp.Expr, dialect: Dialect, extra: frozenset[str]) -> None:
    """Every name before a parenthesis is a function of the list, or named by the query itself."""
    allowed = FUNCTIONS[dialect] | extra
    own = _own_names(tree)
    growing = 0
    for index, token in enumerate(tokens[:-1]):
        if not _is(tokens[index + 1], "(") or token.kind not in (_WORD, _NAME):
            continue
        name = token.value.lower()
        before = tokens[index - 1] if index else None
        qualified = before is not None and _is(before, ".")
        if not qualified and own[name] > 0:
            own[name] -= 1
            continue
        if qualified:
            schema = tokens[index - 2].value.lower() if index > 1 else ""
            if f"{schema}.{name}" in extra:
                continue
            if dialect != "postgres" or schema != "pg_catalog":
                _refuse(f"the function {schema}.{name}() is not on the list of allowed functions")
        elif token.kind == _WORD and (name in _GRAMMAR or name in _TYPES):
            continue
        if name not in allowed or (token.kind == _NAME and token.value != name):
            _refuse(
                f"the function {short(token.value, 40)[1:-1]}() is not on the list of allowed functions."
                " An administrator can allow it for this connection"
            )
        if name in _GROWING or (name in _FORMATTING and dialect != "mysql"):
            growing += 1
        _check_size(name, _arguments(tokens, index + 1), dialect)
    if growing > 20:
        _refuse("it asks more than 20 times for a text of a given size")


def _check_fields(tokens: Sequence[_Token], tree: exp.Expr, allowed: frozenset[str]) -> None:
    """PostgreSQL calls f(x) where (x).f is no field of x: such names are held to the list of functions.

    So is x.f where x is the result of a function in FROM, which may be one value and no row.
    """
    for index, token in enumerate(tokens[2:], 2):
        follows = _is(tokens[index - 1], ".") and (_is(tokens[index - 2], ")") or _is(tokens[index - 2], "]"))
        if follows and token.kind in (_WORD, _NAME) and token.value.lower() not in allowed:
            _refuse(
                f"{short(token.value, 40)[1:-1]} after a parenthesis and a dot may call a function, and is"
                " not on the list of allowed functions"
            )
    named = dict(_function_results(tree))
    tables = {item.alias_or_name.lower() for item in tree.find_all(exp.Table) if _is_table(item)}
    # A function in FROM without an alias goes by its own name, which a table elsewhere may have too.
    calls = tree.find_all(exp.Table, exp.Unnest, exp.Lateral)
    is_bare = any(not _is_table(item) and not item.args.get("alias") for item in calls)
    for column in tree.find_all(exp.Column):
        source, name = column.table.lower(), column.name.lower()
        is_call = source in named or (source in allowed and (is_bare or source not in tables))
        fields = named.get(source, frozenset()) | _RESULT_FIELDS | allowed
        if is_call and name not in fields and name != "*":
            _refuse(
                f"{source}.{name} may call a function, and is not on the list of allowed functions. Name the"
                f" columns of the result, like AS {source}({name})"
            )


_RESULT_FIELDS = frozenset({"key", "value", "ordinality", "lexeme", "positions", "weights"})


def _function_results(tree: exp.Expr) -> Iterator[tuple[str, frozenset[str]]]:
    """The aliases of what is no table, subquery, CTE or VALUES, each with the columns that it is given."""
    for alias in tree.find_all(exp.TableAlias):
        source = alias.parent
        given = source.this if isinstance(source, exp.Lateral) else source
        if not _is_table(given) and not isinstance(given, exp.Subquery | exp.CTE | exp.Values):
            name = alias.name.lower()
            yield name, frozenset(item.name.lower() for item in alias.columns) | {name}


def _is_table(node: exp.Expr | None) -> bool:
    return isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier)


def _own_names(tree: exp.Expr) -> Counter[str]:
    """The names that stand before a parenthesis since the query gives them columns: WITH x(a, b) AS ..."""
    return Counter(
        alias.this.name.lower()
        for alias in tree.find_all(exp.TableAlias)
        if alias.args.get("columns") and isinstance(alias.this, exp.Identifier)
    )


def _arguments(tokens: Sequence[_Token], at: int) -> list[list[_Token]]:
    """The arguments of the call whose parenthesis opens at `at`."""
    depth = 0
    found: list[list[_Token]] = [[]]
    for token in tokens[at:]:
        if _is(token, "(") or _is(token, "["):
            depth += 1
            if depth == 1:
                continue
        elif _is(token, ")") or _is(token, "]"):
            depth -= 1
            if depth == 0:
                return found
        if depth == 1 and _is(token, ","):
            found.append([])
        else:
            found[-1].append(token)
    return found


def _check_size(name: str, arguments: list[list[_Token]], dialect: Dialect) -> None:
    if name in _GROWING:
        place = _GROWING[name]
        size = arguments[place] if place < len(arguments) else []
        if any(token.word in _GROWING for argument in arguments for token in argument):
            _refuse(f"{name}() inside of another such function could make a text without end")
        if any(_is(token, "*") or _is(token, "^") or _is(token, "<") for token in size) or any(
            token.word in ("pow", "power", "exp", "factorial") for token in size
        ):
            _refuse(f"the size that {name}() makes must be a plain number or a column")
        if any(number > MAX_GROWTH for number in _numbers(size)):
            _refuse(f"{name}() may make at most {MAX_GROWTH} characters")
    elif name in _FORMATTING and dialect != "mysql":
        form = arguments[0]
        if len(form) != 1 or form[0].kind != _STRING or _WIDE.search(form[0].value):
            _refuse(f"the first argument of {name}() must be a plain text without a large width")
    elif name == "generate_series" and any(
        number > MAX_SERIES for argument in arguments for number in _numbers(argument)
    ):
        _refuse(f"generate_series() may count to {MAX_SERIES}")


def _numbers(tokens: Sequence[_Token]) -> Iterator[float]:
    for token in tokens:
        if token.kind == _NUMBER or (token.kind == _STRING and token.value.strip().isdecimal()):
            text = token.value.replace("_", "")
            try:
                yield float(int(text, 0)) if text[:2].lower() in ("0x", "0b", "0o") else float(text)
            except ValueError:
                yield float("inf")

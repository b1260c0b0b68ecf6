"""A YAML file as plain values, with the line of each, so that a mistake can be pointed at.

Anchors, aliases and merge keys work; what they blow up to is limited. `${NAME}` in a text takes a value
from the environment. Only what YAML itself can write down comes in: no tag makes an object.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import DefinitionError

Place = tuple[str, ...]  # the way to a value: ("syncs", "customers", "fields", "0", "left")

LARGEST_FILE = 10_000_000  # bytes
MOST_REPEATED = 100_000  # values that come again by aliases; a bomb has billions
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"


class YamlFile:
    """The content of a file. Raises DefinitionError, that names file, line and field, for every mistake."""

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path = path
        self._env = env
        self._lines: dict[Place, int] = {}
        self._seen: set[int] = set()
        self._repeated = 0
        self._constructor = yaml.SafeLoader("")
        text = self._text()
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.content = None if node is None else self._value(node, (), ())
        except yaml.MarkedYAMLError as problem:
            raise self._not_yaml(problem, text) from None
        except yaml.reader.ReaderError as problem:
            line = text.count("\n", 0, problem.position) + 1
            raise DefinitionError(
                f"{path}, line {line}: not valid YAML: the character #x{problem.character:04x} may not stand"
                " there."
            ) from None
        except RecursionError:
            raise DefinitionError(f"{path}: not valid YAML: it is nested too deeply.") from None

    @property
    def folder(self) -> Path:
        """Where the file lies: its relative paths start there."""
        return self.path.resolve().parent

    def mistake(self, place: Place, message: str) -> DefinitionError:
        """The mistake at a place; where nothing stands there, the line is that of what is around it."""
        where = place
        while where and where not in self._lines:
            where = where[:-1]
        return self._mistake(self._lines.get(where, 1), place, message)

    def _mistake(self, line: int, place: Place, message: str) -> DefinitionError:
        return DefinitionError(f"{self.path}, line {line}, {'.'.join(place) or 'the file'}: {message}")

    def _text(self) -> str:
        try:
            with self.path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except FileNotFoundError:
            raise DefinitionError(f"There is no file '{self.path}'.") from None
        except OSError as problem:
            raise DefinitionError(f"'{self.path}' cannot be read: {problem.strerror or problem}.") from None
        if len(content) > LARGEST_FILE:
            raise DefinitionError(f"'{self.path}' is larger than {LARGEST_FILE // 1_000_000} MB.")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            line = content.count(b"\n", 0, problem.start) + 1
            raise DefinitionError(
                f"{self.path}, line {line}: the byte 0x{content[problem.start]:02X} is not UTF-8."
                " Save the file as UTF-8."
            ) from None

    def _not_yaml(self, problem: yaml.MarkedYAMLError, text: str) -> DefinitionError:
        mark = problem.problem_mark or problem.context_mark
        said = problem.problem or "it cannot be read"
        if "'\\t'" in said:
            said += " (indent with spaces, not with tabs)"
        elif mark and "${" in "".join(text.splitlines()[mark.line : mark.line + 1]):
            said += " (put a ${NAME} in quotes)"
        return DefinitionError(f"{self.path}, line {mark.line + 1 if mark else 1}: not valid YAML: {said}.")

    # -- values -----------------------------------------------------------------------------------

    def _value(self, node: yaml.Node, place: Place, inside: tuple[int, ...]) -> Any:
        """The value of a node; `inside` are the nodes that it lies in."""
        line = node.start_mark.line + 1
        self._lines.setdefault(place, line)
        if id(node) in inside:
            raise self._mistake(line, place, "this alias stands inside of what it stands for.")
        if id(node) in self._seen:
            self._repeated += 1
            if self._repeated > MOST_REPEATED:
                raise self._mistake(line, place, "its aliases blow up to too much. Write it out.")
        self._seen.add(id(node))
        within = (*inside, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, within)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, str(n)), within) for n, item in enumerate(node.value)]
        return self._scalar(node, place, line)

    def _mapping(self, node: yaml.MappingNode, place: Place, within: tuple[int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[yaml.MappingNode] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                merged.extend(self._merged(value_node, place, line))
                continue
            key = self._key(key_node, place, line)
            if key in found:
                raise self._mistake(line, (*place, key), f"'{key}' stands here twice.")
            self._lines.setdefault((*place, key), line)
            found[key] = self._value(value_node, (*place, key), within)
        for other in merged:  # what is written out wins over what is merged, and the first over the second
            for key, value in self._value(other, place, within).items():
                found.setdefault(key, value)
        return found

    def _merged(self, node: yaml.Node, place: Place, line: int) -> Iterator[yaml.MappingNode]:
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(item, yaml.MappingNode):
                raise self._mistake(line, place, "`<<` takes names with values, or a list of such.")
            yield item

    def _key(self, node: yaml.Node, place: Place, line: int) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._mistake(line, place, "a name before `:` must be a word.")
        text = str(node.value)
        return text.lower() if text.lower() in ("true", "false") else text

    def _scalar(self, node: yaml.Node, place: Place, line: int) -> Any:
        if node.tag == _FLOAT:
            try:
                return _number(str(node.value))
            except InvalidOperation:
                pass  # .inf, .nan, 1:30.5
        try:
            value = self._constructor.construct_object(node, deep=True)
        except (ValueError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            raise self._mistake(line, place, f"'{node.value}' is no {kind}; put a text in quotes.") from None
        return self._expanded(value, place, line) if isinstance(value, str) else value

    def _expanded(self, text: str, place: Place, line: int) -> str:
        def put(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in self._env:
                near = difflib.get_close_matches(name, self._env, n=1, cutoff=0.8)
                hint = f" Did you mean {near[0]}?" if near else " Set it, and try again."
                raise self._mistake(line, place, f"the environment has no {name}.{hint}")
            return self._env[name]

        return _REFERENCE.sub(put, text)


def _number(text: str) -> int | Decimal:
    """A number with a point, exact. Raises InvalidOperation."""
    number = Decimal(text.replace("_", ""))
    if not number.is_finite() or abs(number.adjusted()) > 50:
        raise InvalidOperation
    return int(number) if number == number.to_integral_value() else number.normalize()

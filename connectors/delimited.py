"""Delimited text (CSV and its kin) that gives back every byte that was not meant to change.

Pure: bytes in, bytes out. A `Table` keeps each record as it is written, quotes, line end and all, and
renders anew only the cells that are set.
"""

from __future__ import annotations

import codecs
import copy
import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from connectors.errors import OptionsError

DELIMITERS = (",", ";", "\t", "|")  # in the order in which they are preferred
SAMPLE = 100  # records that are looked at to learn a file's habits

# The longest cell. The csv module's own limit (131,072) is less than databases hold; none at all would
# let a stray quote swallow the rest of the file into one cell.
_LONGEST_CELL = 16 * 1024 * 1024

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_TRUTHS = (
    ("yes", "no"),
    ("true", "false"),
    ("1", "0"),
    ("y", "n"),
    ("t", "f"),
    ("on", "off"),
)

Cells = list[str]


class Table:
    """A header and records. `entries` holds all of it as written, blank lines too, in file order."""

    def __init__(
        self,
        name: str,
        entries: list[str],
        columns: Cells,
        header: int | None,
        *,
        bom: bytes = b"",
        encoding: str = "utf-8",
        delimiter: str = ",",
    ) -> None:
        self.name = name
        self.entries = entries
        self.columns = columns
        self.header = header  # its index in `entries`; None: the first line is a record
        self.bom = bom
        self.encoding = encoding
        self.delimiter = delimiter
        self.ends_with_newline = bool(entries) and entries[-1] != _without_end(entries[-1])

    @classmethod
    def parse(
        cls,
        content: bytes,
        name: str,
        *,
        encoding: str | None = None,
        delimiter: str | None = None,
        has_header: bool = True,
    ) -> Table:
        """The table in `content`; `name` is for messages. Nothing about it is guessed twice.

        Raises OptionsError, naming line and remedy, for a broken encoding, broken quotes, no header, and
        a record with more or fewer cells than the header.
        """
        bom, encoding = _encoding(content, encoding)
        text = _decoded(content[len(bom) :], encoding, name)
        csv.field_size_limit(_LONGEST_CELL)
        delimiter = delimiter or _sniffed(text)
        entries: list[str] = []
        first: Cells = []
        header = None
        for entry, cells, line in _split(text, delimiter, name):
            entries.append(entry)
            if not first and cells and (has_header or not is_blank(cells)):
                first = cells
                header = len(entries) - 1 if has_header else None
            if len(cells) != len(first) and not is_blank(cells):
                raise OptionsError(
                    f"'{name}', line {line}: {_count(len(cells), 'cell')}, but the"
                    f" {'header' if has_header else 'first line'} has {_count(len(first), 'column')}. Add or"
                    f" remove a {_shown(delimiter)} there, or put quotes around a cell that holds one.",
                    code="ragged_row",
                    stream=name,
                )
        if not first:
            raise OptionsError(
                f"'{name}' is empty: it has no header row. Write the names of the columns in its first"
                " line, or remove the file and let Syncline create it.",
                code="no_header",
                stream=name,
            )
        columns = [cell.strip() for cell in first] if has_header else _letters(len(first))
        return cls(name, entries, columns, header, bom=bom, encoding=encoding, delimiter=delimiter)

    @classmethod
    def new(cls, name: str, columns: Sequence[str]) -> Table:
        """A table that has only a header yet: UTF-8, commas, line feeds."""
        header = ",".join(_rendered(column, ",", quoted=False) for column in columns)
        return cls(name, [f"{header}\n"], list(columns), 0)

    def copy(self) -> Table:
        """A table of its own, to be changed while this one stays as it was read."""
        made = copy.copy(self)
        made.entries = list(self.entries)
        made.columns = list(self.columns)
        for learned in ("newline", "_sample", "_quoted", "_habits"):
            made.__dict__.pop(learned, None)
        return made

    def content(self) -> bytes:
        """The table as bytes. What was not set is as it was; so is the final line end, or its absence."""
        last = len(self.entries) - 1
        parts = []
        for index, entry in enumerate(self.entries):
            bare = _without_end(entry)
            if index == last and not self.ends_with_newline:
                parts.append(bare)
            else:
                parts.append(entry if entry != bare else bare + self.newline)
        return self.bom + "".join(parts).encode(self.encoding)

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Each record that holds something: its index in `entries` and its cells. The header is none."""
        records = _split("".join(self._terminated()), self.delimiter, self.name)
        for index, (_, cells, _) in enumerate(records):
            if index != self.header and not is_blank(cells):
                yield index, cells

    def cells(self, entry: str) -> Cells:
        """The cells of one entry."""
        return next(_reader([entry], self.delimiter), [])

    def render(self, cells: Sequence[str]) -> str:
        """A new entry, quoted where it must be or where the column always is."""
        texts = [
            _rendered(cell, self.delimiter, quoted=quoted)
            for cell, quoted in zip(cells, self._quoted, strict=True)
        ]
        # A single empty cell would be a blank line, which is no record.
        if texts == [""]:
            texts = ['""']
        return self.delimiter.join(texts) + self.newline

    def changed(self, entry: str, cells: Mapping[int, str]) -> str:
        """The entry with some cells set. The others keep their very text."""
        bare = _without_end(entry)
        texts = _raw_cells(bare, self.delimiter)
        for index, cell in cells.items():
            was_quoted = texts[index].startswith('"')
            texts[index] = _rendered(cell, self.delimiter, quoted=was_quoted or self._quoted[index])
        if texts == [""]:
            texts = ['""']
        return self.delimiter.join(texts) + entry[len(bare) :]

    def add_column(self, column: str) -> None:
        """Append a column. Its cells are empty, and those before it keep their very text."""
        quoted, _ = all(self._quoted), self._habits  # both learned before the records get wider
        for index, entry in enumerate(self.entries):
            if index == self.header or not is_blank(self.cells(entry)):
                bare = _without_end(entry)
                text = _rendered(column if index == self.header else "", self.delimiter, quoted=quoted)
                self.entries[index] = bare + self.delimiter + text + entry[len(bare) :]
        self.columns.append(column)
        self._quoted.append(quoted)

    def append(self, entry: str) -> None:
        """Add an entry at the end."""
        if self.entries and self.entries[-1] == _without_end(self.entries[-1]):
            self.entries[-1] += self.newline
        self.entries.append(entry)

    def truth(self, index: int, value: bool) -> str:
        """A boolean as this column writes it: yes, TRUE, 1 ...; true where it has no habit."""
        yes, no = self._habits.get(index, ("true", "false"))
        return yes if value else no

    @cached_property
    def newline(self) -> str:
        first = self.entries[0]
        return first[len(_without_end(first)) :] or "\n"

    @cached_property
    def _sample(self) -> list[tuple[str, Cells]]:
        """Some records as written and as read."""
        found: list[tuple[str, Cells]] = []
        for index, cells in self.rows():
            found.append((self.entries[index], cells))
            if len(found) == SAMPLE:
                break
        return found

    @cached_property
    def _quoted(self) -> list[bool]:
        """For each column whether its cells are quoted without need."""
        raw = [_raw_cells(_without_end(entry), self.delimiter) for entry, _ in self._sample]
        if not raw:
            return [self._header_is_quoted] * len(self.columns)
        filled = [[row[index] for row in raw if row[index]] for index in range(len(self.columns))]
        return [bool(texts) and all(text.startswith('"') for text in texts) for texts in filled]

    @property
    def _header_is_quoted(self) -> bool:
        if self.header is None:
            return False
        texts = _raw_cells(_without_end(self.entries[self.header]), self.delimiter)
        return all(text.startswith('"') for text in texts)

    @cached_property
    def _habits(self) -> dict[int, tuple[str, str]]:
        """For each column of booleans the pair of words, in its own case, that it writes them with."""
        return {
            index: pair
            for index in range(len(self.columns))
            if (pair := _habit({cells[index].strip() for _, cells in self._sample} - {""}))
        }

    def _terminated(self) -> Iterator[str]:
        for entry in self.entries:
            yield entry if entry != _without_end(entry) else entry + self.newline


def is_blank(cells: Sequence[str]) -> bool:
    """Whether a line holds nothing: an empty line, or only delimiters. Kept, and no record."""
    return not any(cell.strip() for cell in cells)


def _habit(words: set[str]) -> tuple[str, str] | None:
    for style in (str.lower, str.upper, str.capitalize):
        for yes, no in _TRUTHS:
            if words and words <= {style(yes), style(no)}:
                return style(yes), style(no)
    return None


def _encoding(content: bytes, declared: str | None) -> tuple[bytes, str]:
    for bom, encoding in _BOMS:
        if content.startswith(bom):
            return bom, encoding
    return b"", declared or "utf-8"


def _decoded(content: bytes, encoding: str, name: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise OptionsError(
            f"'{name}', line {line}: the byte 0x{content[error.start]:02X} is not {encoding.upper()}."
            " Save the file as UTF-8, or declare the connection's option `encoding` (cp1252, latin-1).",
            code="encoding",
            stream=name,
        ) from None
    if "\x00" in text.partition("\n")[0]:
        raise OptionsError(
            f"'{name}' looks like UTF-16 without a byte order mark. Save it as UTF-8.",
            code="encoding",
            stream=name,
        )
    return text


def _sniffed(text: str) -> str:
    """The delimiter that cuts the header, and after it the first records in the same way."""
    lines = list(itertools.islice(io.StringIO(text, newline=""), SAMPLE))

    def fit(delimiter: str) -> tuple[bool, bool, int]:
        # Lenient: what is wrong with the quotes is said once the delimiter is known.
        records = [cells for cells in csv.reader(lines, delimiter=delimiter) if not is_blank(cells)]
        if len(lines) == SAMPLE and len(records) > 1:
            records.pop()  # perhaps cut in the middle
        widths = [len(cells) for cells in records] or [1]
        return widths[0] > 1, len(set(widths)) == 1, widths[0]

    return max(DELIMITERS, key=fit)


def _reader(lines: Iterator[str] | list[str], delimiter: str) -> Iterator[Cells]:
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _split(text: str, delimiter: str, name: str) -> Iterator[tuple[str, Cells, int]]:
    """Each record as written, its cells, and the number of its first line."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader = _reader(lines(), delimiter)
    number = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise OptionsError(
                f"'{name}', line {number}: {_quote_problem(error)} Put quotes around the whole cell and"
                " double each quote inside it.",
                code="broken_quotes",
                stream=name,
            ) from None
        if cells is None:
            return
        yield taken[0] if len(taken) == 1 else "".join(taken), cells, number
        number += len(taken)
        taken.clear()


def _quote_problem(error: csv.Error) -> str:
    match str(error):
        case "unexpected end of data":
            return "a cell begins with a quote that is never closed."
        case text if "field larger" in text:
            return "a cell is longer than 16 MB; a quote may not be closed."
        case _:
            return "the quotes of a cell are broken."


def _raw_cells(bare: str, delimiter: str) -> list[str]:
    """The cells of one entry as written. `bare` has no line end and is known to be well formed."""
    texts = []
    start = 0
    while True:
        end = _end_of_cell(bare, start, delimiter)
        texts.append(bare[start:end])
        if end == len(bare):
            return texts
        start = end + 1


def _end_of_cell(bare: str, start: int, delimiter: str) -> int:
    position = start
    if bare.startswith('"', start):
        position = bare.index('"', start + 1)
        while bare.startswith('""', position):
            position = bare.index('"', position + 2)
    end = bare.find(delimiter, position)
    return len(bare) if end < 0 else end


def _rendered(cell: str, delimiter: str, *, quoted: bool) -> str:
    if quoted or any(sign in cell for sign in (delimiter, '"', "\r", "\n")):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _without_end(entry: str) -> str:
    """The entry without its line end. A line end inside quotes is followed by a quote, so it stays."""
    if entry.endswith("\r\n"):
        return entry[:-2]
    return entry[:-1] if entry.endswith(("\r", "\n")) else entry


def _letters(width: int) -> Cells:
    """Column names as spreadsheets give them: A ... Z, AA ..."""
    names = []
    for number in range(1, width + 1):
        name = ""
        while number:
            number, rest = divmod(number - 1, 26)
            name = chr(ord("A") + rest) + name
        names.append(name)
    return names


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar (|)"}[delimiter]

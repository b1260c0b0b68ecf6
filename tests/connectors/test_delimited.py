"""A table gives back every byte; what is set reads back, and nothing else moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.delimited import DELIMITERS, Table, is_blank
from connectors.errors import OptionsError

cells = st.text(st.sampled_from("ab,;\t|\"'\n\r é"), max_size=6)
File = tuple[bytes, str, list[list[str]]]


@st.composite
def texts(draw: st.DrawFn) -> File:
    """A file, its delimiter and its records, as any program may have written it."""
    delimiter = draw(st.sampled_from(DELIMITERS))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=6))

    def written(cell: str) -> str:
        quoted = draw(st.booleans()) or any(sign in cell for sign in '"\r\n' + delimiter)
        return '"' + cell.replace('"', '""') + '"' if quoted else cell

    lines = [[f"c{number}" for number in range(width)], *([written(cell) for cell in row] for row in rows)]
    text = "".join(delimiter.join(line) + end for line in lines)
    if draw(st.booleans()):
        text = text.removesuffix(end)
    return text.encode(), delimiter, rows


def parsed(content: bytes, delimiter: str) -> Table:
    return Table.parse(content, "t.csv", delimiter=delimiter)


def filled(rows: list[list[str]]) -> list[list[str]]:
    return [row for row in rows if not is_blank(row)]


@given(texts())
def test_untouched_is_identical(file: File) -> None:
    content, delimiter, rows = file
    table = parsed(content, delimiter)
    assert table.content() == content
    assert [row for _, row in table.rows()] == filled(rows)


@given(texts(), cells, st.data())
def test_a_set_cell_reads_back_and_no_other_moves(file: File, cell: str, data: st.DataObject) -> None:
    content, delimiter, _ = file
    table = parsed(content, delimiter)
    before = list(table.rows())
    if not before:
        return
    place = data.draw(st.integers(0, len(before) - 1))
    column = data.draw(st.integers(0, len(table.columns) - 1))
    index = before[place][0]
    table.entries[index] = table.changed(table.entries[index], {column: cell})
    expected = [list(row) for _, row in before]
    expected[place][column] = cell
    assert [row for _, row in parsed(table.content(), delimiter).rows()] == filled(expected)


@given(texts(), st.data())
def test_an_appended_record_reads_back(file: File, data: st.DataObject) -> None:
    content, delimiter, rows = file
    table = parsed(content, delimiter)
    width = len(table.columns)
    new = data.draw(st.lists(cells, min_size=width, max_size=width))
    table.append(table.render(new))
    assert [row for _, row in parsed(table.content(), delimiter).rows()] == filled([*rows, new])


@given(texts())
def test_a_new_column_is_empty_and_reads_back(file: File) -> None:
    content, delimiter, rows = file
    table = parsed(content, delimiter)
    table.add_column("sync_id")
    again = parsed(table.content(), delimiter)
    assert again.columns[-1] == "sync_id"
    assert [row for _, row in again.rows()] == [[*row, ""] for row in filled(rows)]


@given(texts())
def test_a_copy_does_not_touch_the_original(file: File) -> None:
    content, delimiter, _ = file
    table = parsed(content, delimiter)
    copy = table.copy()
    copy.add_column("more")
    copy.append(copy.render(["x"] * len(copy.columns)))
    assert table.content() == content


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_sentence(content: bytes) -> None:
    try:
        table = Table.parse(content, "t.csv")
    except OptionsError as error:
        assert error.message.endswith(".")
    else:
        assert table.content() == content

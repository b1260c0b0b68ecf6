"""A simulated spreadsheet: tabs of cells, and what the requests of a batch do to them.

Formulas keep their text when rows move; the real ones follow their cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from simulators.google_sheets_cells import (
    MOST_CHARACTERS,
    Area,
    Cell,
    Error,
    Plain,
    area,
    as_double,
    as_json,
    extended,
    shown,
    split_title,
    typed,
    written,
)
from simulators.google_sheets_formulas import Block, evaluate

MOST_CELLS = 10_000_000
MOST_COLUMNS = 18_278
ROWS, COLUMNS = 1000, 26  # of a new tab


class Refusal(Exception):
    """An answer of 400, or what `status` says."""

    def __init__(self, message: str, status: int = 400, word: str = "INVALID_ARGUMENT", **more: Any) -> None:
        super().__init__(message)
        self.message, self.status, self.word, self.more = message, status, word, more


@dataclass
class Tab:
    id: int
    title: str
    column_count: int = COLUMNS
    frozen: int = 0
    hidden: bool = False
    kind: str = "GRID"
    rows: list[dict[int, Cell]] = field(default_factory=lambda: [{} for _ in range(ROWS)])
    marks: list[list[str]] = field(default_factory=lambda: [[] for _ in range(ROWS)])  # metadata, by row
    merges: list[dict[str, int]] = field(default_factory=list)
    protected: list[dict[str, Any]] = field(default_factory=list)
    shown_rows: int = 0  # blank ones that the page shows too

    @property
    def row_count(self) -> int:
        return len(self.rows)

    @property
    def cells(self) -> int:
        return self.row_count * self.column_count

    @property
    def height(self) -> int:
        """Rows down to the last one that holds something."""
        return next((n for n in range(self.row_count, 0, -1) if _holds(self.rows[n - 1])), 0)

    @property
    def width(self) -> int:
        return max((max(row) + 1 for row in self.rows if row), default=0)

    def copy(self) -> Tab:
        rows = [{number: cell.copy() for number, cell in row.items()} for row in self.rows]
        return replace(
            self,
            rows=rows,
            marks=[list(marks) for marks in self.marks],
            merges=list(self.merges),
            protected=list(self.protected),
        )

    def cell(self, row: int, column: int) -> Cell:
        return self.rows[row].setdefault(column, Cell())

    # -- what a person does --

    def put(self, row: int, values: Sequence[Any], now: datetime, column: int = 0) -> None:
        """Type texts into a row; other values go in as they are."""
        for number, value in enumerate(values, column):
            there = self.cell(row, number)
            what = typed(value, now) if isinstance(value, str) else Cell(_double(value))
            there.value, there.formula = what.value, what.formula
            there.format = what.format or there.format

    def insert_rows(self, at: int, count: int = 1) -> None:
        self.rows[at:at] = [{} for _ in range(count)]
        self.marks[at:at] = [[] for _ in range(count)]

    def delete_rows(self, start: int, end: int) -> None:
        del self.rows[start:end]
        del self.marks[start:end]

    def insert_columns(self, at: int, count: int = 1) -> None:
        self.rows = [{(n + count if n >= at else n): c for n, c in row.items()} for row in self.rows]
        self.column_count += count

    def delete_columns(self, start: int, end: int) -> None:
        gone = end - start
        self.rows = [
            {(n - gone if n >= end else n): c for n, c in row.items() if not start <= n < end}
            for row in self.rows
        ]
        self.column_count -= gone

    def sort(self, column: int, *, first: int = 1, descending: bool = False) -> None:
        """As a person sorts: the cells move, what hangs on the rows themselves does not."""
        end = self.height
        values = self.values()
        part = list(range(first, end))
        part.sort(key=lambda n: _order(values.get((n, column))), reverse=descending)
        self.rows[first:end] = [self.rows[n] for n in part]

    # -- what the cells come to --

    def values(self) -> dict[tuple[int, int], Plain]:
        """What every cell shows, those that formulas spill into among them."""
        return _Sums(self).all()


def _double(value: Any) -> Any:
    return as_double(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _holds(row: Mapping[int, Cell]) -> bool:
    return any(cell.holds_something for cell in row.values())


def _order(value: Plain) -> tuple[int, Any]:
    match value:
        case None:
            return 3, ""
        case bool():
            return 2, value
        case str():
            return 1, value.lower()
        case Error():
            return 2, False
    return 0, value


class _Sums:
    """The values of one tab, worked out once."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.found: dict[tuple[int, int], Plain] = {}
        self.under_way: set[tuple[int, int]] = set()

    def all(self) -> dict[tuple[int, int], Plain]:
        formulas = []
        for number, row in enumerate(self.tab.rows):
            for column, cell in row.items():
                if cell.formula is not None:
                    formulas.append((number, column))
                elif cell.value is not None:
                    self.found[number, column] = cell.value
        for place in formulas:
            self._work_out(place)
        return self.found

    def _work_out(self, place: tuple[int, int]) -> Plain:
        if place in self.found:
            return self.found[place]
        cell = self.tab.rows[place[0]].get(place[1]) if place[0] < self.tab.row_count else None
        if cell is None or cell.formula is None:
            return None if cell is None else cell.value
        if place in self.under_way:
            return Error("#REF!")
        self.under_way.add(place)
        result = evaluate(cell.formula, self._look)
        if isinstance(result, list):
            result = self._spill(place, result)
        self.found[place] = result
        return result

    def _spill(self, place: tuple[int, int], block: Block) -> Plain:
        others = [
            ((place[0] + down, place[1] + right), value)
            for down, row in enumerate(block)
            for right, value in enumerate(row)
            if (down, right) != (0, 0) and place[0] + down < self.tab.row_count
        ]
        if any(self.tab.rows[row].get(column, Cell()).holds_something for (row, column), _ in others):
            return Error("#REF!")  # it would write over something
        self.found.update({spot: value for spot, value in others if value is not None})
        return block[0][0] if block and block[0] else None

    def _look(self, reference: str) -> Block:
        try:
            title, cells = split_title(reference.replace("$", ""))
            wanted = area(cells or "")
        except ValueError:
            return [[Error("#REF!")]]
        if title is not None and title != self.tab.title:
            return [[Error("#REF!")]]
        bottom = min(wanted.bottom or self.tab.row_count, self.tab.row_count)
        right = min(wanted.right or self.tab.column_count, self.tab.column_count)
        return [
            [self._work_out((row, column)) for column in range(wanted.left, right)]
            for row in range(wanted.top, bottom)
        ]


@dataclass
class Book:
    """One spreadsheet file."""

    id: str
    title: str
    created: datetime
    modified: datetime
    tabs: list[Tab]
    roles: dict[str, str] = field(default_factory=dict)  # e-mail -> owner, writer, reader
    zone: str = "Etc/GMT"
    named: dict[str, str] = field(default_factory=dict)  # named ranges
    metadata: dict[int, dict[str, Any]] = field(default_factory=dict)

    def tab(self, title: str) -> Tab:
        """Raises KeyError."""
        return {tab.title: tab for tab in self.tabs}[title]

    def _has(self, title: str) -> bool:
        return any(tab.title == title for tab in self.tabs)

    def by_id(self, id: int, where: str) -> Tab:
        for tab in self.tabs:
            if tab.id == id:
                return tab
        raise Refusal(f"{where}No grid with id: {id}")

    def find(self, text: str) -> tuple[Tab, Area]:
        """The tab and cells that a range means. Raises Refusal."""
        wrong = Refusal(f"Unable to parse range: {text}")
        if text in self.named:
            text = self.named[text]
        try:
            title, cells = split_title(text)
            if title is None:
                # A bare word is a tab, or cells of the first one that is seen.
                if self._has(text):
                    title, cells = text, None
                else:
                    title = next(tab.title for tab in self.tabs if not tab.hidden)
            wanted = area(cells) if cells else Area()
            tab = self.tab(title)
        except (ValueError, KeyError, StopIteration):
            raise wrong from None
        if tab.kind != "GRID":
            raise wrong
        return tab, wanted

    # -- batchUpdate --

    def change(self, requests: Sequence[Mapping[str, Any]], new_number: Callable[[], int]) -> list[Any]:
        """All of these requests in order, or none of them. Raises Refusal."""
        kept = [(tab, tab.copy()) for tab in self.tabs]
        others = deepcopy((self.metadata, self.named, self.title))
        replies: list[Any] = []
        try:
            for number, request in enumerate(requests):
                if len(request) != 1:
                    raise Refusal(f"Invalid requests[{number}]: exactly one kind of request is needed.")
                ((kind, body),) = request.items()
                act = getattr(self, f"_do_{kind}", None)
                if act is None:
                    raise Refusal(f'Invalid JSON payload received. Unknown name "{kind}": Cannot find field.')
                replies.append(act(body, f"Invalid requests[{number}].{kind}: ", new_number) or {})
                if sum(tab.cells for tab in self.tabs) > MOST_CELLS:
                    raise Refusal(
                        f"Invalid requests[{number}].{kind}: This action would increase the number of cells"
                        f" in the workbook above the limit of {MOST_CELLS} cells."
                    )
            return replies
        except (Refusal, KeyError, TypeError, ValueError, AttributeError) as problem:
            for tab, was in kept:
                vars(tab).update(vars(was))
            self.tabs = [tab for tab, _ in kept]
            self.metadata, self.named, self.title = others
            if isinstance(problem, Refusal):
                raise
            raise Refusal(f"Invalid value at 'requests[{len(replies)}]'.") from None

    def _do_addSheet(self, body: Any, where: str, new_number: Callable[[], int]) -> Any:
        about = body.get("properties", {})
        title = about.get("title") or f"Sheet{len(self.tabs) + 1}"
        if self._has(title):
            raise Refusal(
                f'{where}A sheet with the name "{title}" already exists. Please enter another name.'
            )
        grid = about.get("gridProperties", {})
        rows = int(grid.get("rowCount", ROWS))
        tab = Tab(
            about.get("sheetId", new_number()),
            title,
            int(grid.get("columnCount", COLUMNS)),
            int(grid.get("frozenRowCount", 0)),
            rows=[{} for _ in range(rows)],
            marks=[[] for _ in range(rows)],
        )
        self.tabs.insert(int(about.get("index", len(self.tabs))), tab)
        return {"addSheet": {"properties": self.properties(tab)}}

    def _do_deleteSheet(self, body: Any, where: str, _: Any) -> None:
        tab = self.by_id(body["sheetId"], where)
        if sum(not other.hidden for other in self.tabs if other is not tab) == 0:
            raise Refusal(f"{where}You can't remove all the visible sheets in a document.")
        self.tabs.remove(tab)

    def _do_updateSpreadsheetProperties(self, body: Any, where: str, _: Any) -> None:
        self.title = body["properties"].get("title", self.title)

    def _do_updateSheetProperties(self, body: Any, where: str, _: Any) -> None:
        about = body["properties"]
        tab = self.by_id(about.get("sheetId", 0), where)
        for name in body["fields"].replace("/", ".").split(","):
            match name:
                case "title":
                    if any(other.title == about["title"] for other in self.tabs if other is not tab):
                        raise Refusal(
                            f'{where}A sheet with the name "{about["title"]}" already exists. Please enter'
                            " another name."
                        )
                    tab.title = about["title"]
                case "hidden":
                    tab.hidden = bool(about.get("hidden"))
                    if all(other.hidden for other in self.tabs):
                        raise Refusal(f"{where}You can't hide all the sheets in a document.")
                case "index":
                    self.tabs.remove(tab)
                    self.tabs.insert(about["index"], tab)
                case "gridProperties.rowCount":
                    _resize(tab, about["gridProperties"]["rowCount"])
                case "gridProperties.columnCount":
                    tab.column_count = about["gridProperties"]["columnCount"]
                    tab.rows = [{n: c for n, c in row.items() if n < tab.column_count} for row in tab.rows]
                case "gridProperties.frozenRowCount":
                    tab.frozen = about["gridProperties"].get("frozenRowCount", 0)

    def _do_appendDimension(self, body: Any, where: str, _: Any) -> None:
        tab, length = self.by_id(body.get("sheetId", 0), where), body["length"]
        if body["dimension"] == "ROWS":
            _resize(tab, tab.row_count + length)
        elif tab.column_count + length > MOST_COLUMNS:
            raise Refusal(f"{where}This action would increase the number of columns above {MOST_COLUMNS}.")
        else:
            tab.column_count += length

    def _do_insertDimension(self, body: Any, where: str, _: Any) -> None:
        tab, start, end, is_rows = self._dimension(body["range"], where)
        if body.get("inheritFromBefore") and start == 0:
            raise Refusal(f"{where}inheritFromBefore cannot be true when inserting at the start.")
        if start >= (tab.row_count if is_rows else tab.column_count):
            raise Refusal(f"{where}range.startIndex[{start}] is outside the grid. Use appendDimension.")
        if not is_rows:
            tab.insert_columns(start, end - start)
            return
        pattern = tab.rows[start - 1] if body.get("inheritFromBefore") else tab.rows[start]
        formats = {n: cell.format for n, cell in pattern.items() if cell.format}
        tab.insert_rows(start, end - start)
        for row in tab.rows[start:end]:
            row.update({n: Cell(format=dict(format)) for n, format in formats.items()})

    def _do_deleteDimension(self, body: Any, where: str, _: Any) -> None:
        tab, start, end, is_rows = self._dimension(body["range"], where)
        count = tab.row_count if is_rows else tab.column_count
        if end > count or start >= count:
            raise Refusal(f"{where}Cannot delete what is outside the grid: range exceeds grid limits.")
        if end - start >= count - (tab.frozen if is_rows else 0):
            raise Refusal(f"{where}Sorry, it is not possible to delete all non-frozen rows.")
        if is_rows:
            gone = {mark for marks in tab.marks[start:end] for mark in marks}
            self.metadata = {n: item for n, item in self.metadata.items() if str(n) not in gone}
            tab.delete_rows(start, end)
        else:
            tab.delete_columns(start, end)

    def _dimension(self, range: Any, where: str) -> tuple[Tab, int, int, bool]:
        tab = self.by_id(range.get("sheetId", 0), where)
        is_rows = range["dimension"] == "ROWS"
        start = range.get("startIndex", 0)
        return tab, start, range.get("endIndex", tab.row_count if is_rows else tab.column_count), is_rows

    def _do_updateCells(self, body: Any, where: str, _: Any) -> None:
        start = body.get("start") or body["range"]
        tab = self.by_id(start.get("sheetId", 0), where)
        top = start.get("rowIndex", start.get("startRowIndex", 0))
        left = start.get("columnIndex", start.get("startColumnIndex", 0))
        self._cells(tab, body.get("rows", ()), body["fields"], top, left, where)

    def _do_appendCells(self, body: Any, where: str, _: Any) -> None:
        tab = self.by_id(body.get("sheetId", 0), where)
        top = tab.height
        _resize(tab, max(tab.row_count, top + len(body["rows"])))
        self._cells(tab, body["rows"], body["fields"], top, 0, where)

    def _cells(self, tab: Tab, rows: Any, fields: str, top: int, left: int, where: str) -> None:
        names = set(fields.replace("/", ".").split(","))
        for row, line in enumerate(rows, top):
            for column, data in enumerate(line.get("values", ()), left):
                if row >= tab.row_count or column >= tab.column_count:
                    raise Refusal(
                        f"{where}Attempting to write row: {row}, column: {column}, which exceeds grid limits."
                        f" Max rows: {tab.row_count}, max columns: {tab.column_count}"
                    )
                self._guard(tab, row, column)
                cell = tab.cell(row, column)
                if "*" in names or "userEnteredValue" in names:
                    cell.value, cell.formula = _entered(data.get("userEnteredValue", {}), where)
                if names & {"*", "userEnteredFormat", "userEnteredFormat.numberFormat"}:
                    cell.format = data.get("userEnteredFormat", {}).get("numberFormat")

    def _guard(self, tab: Tab, row: int, column: int) -> None:
        for item in tab.protected:
            range = item.get("range", {})
            inside = range.get("startRowIndex", 0) <= row < range.get("endRowIndex", row + 1)
            inside &= range.get("startColumnIndex", 0) <= column < range.get("endColumnIndex", column + 1)
            if inside and not item.get("warningOnly") and not item.get("requestingUserCanEdit"):
                raise Refusal(
                    "You are trying to edit a protected cell or object. Please contact the spreadsheet owner"
                    " to remove protection if you need to edit."
                )

    def _do_repeatCell(self, body: Any, where: str, new_number: Any) -> None:
        range = body["range"]
        tab = self.by_id(range.get("sheetId", 0), where)
        left = range.get("startColumnIndex", 0)
        width = range.get("endColumnIndex", tab.column_count) - left
        top = range.get("startRowIndex", 0)
        height = range.get("endRowIndex", tab.row_count) - top
        rows = [{"values": [body["cell"]] * width}] * height
        self._cells(tab, rows, body["fields"], top, left, where)

    def _do_sortRange(self, body: Any, where: str, _: Any) -> None:
        range, spec = body["range"], body["sortSpecs"][0]
        tab = self.by_id(range.get("sheetId", 0), where)
        tab.sort(
            spec.get("dimensionIndex", 0),
            first=range.get("startRowIndex", 0),
            descending=spec.get("sortOrder") == "DESCENDING",
        )

    def _do_mergeCells(self, body: Any, where: str, _: Any) -> None:
        self.by_id(body["range"].get("sheetId", 0), where).merges.append(dict(body["range"]))

    def _do_addProtectedRange(self, body: Any, where: str, new_number: Callable[[], int]) -> Any:
        item = {"protectedRangeId": new_number(), "requestingUserCanEdit": True, **body["protectedRange"]}
        self.by_id(item["range"].get("sheetId", 0), where).protected.append(item)
        return {"addProtectedRange": {"protectedRange": item}}

    def _do_addNamedRange(self, body: Any, where: str, new_number: Callable[[], int]) -> Any:
        item = body["namedRange"]
        range = item["range"]
        tab = self.by_id(range.get("sheetId", 0), where)
        self.named[item["name"]] = written(
            tab.title,
            range.get("startRowIndex", 0),
            range.get("startColumnIndex", 0),
            range.get("endRowIndex", tab.row_count),
            range.get("endColumnIndex", tab.column_count),
        )
        return {"addNamedRange": {"namedRange": {"namedRangeId": str(new_number()), **item}}}

    # -- developer metadata --

    def _do_createDeveloperMetadata(self, body: Any, where: str, new_number: Callable[[], int]) -> Any:
        item = dict(body["developerMetadata"])
        number = item.setdefault("metadataId", new_number())
        place = item.get("location", {}).get("dimensionRange")
        if place is not None and place.get("dimension") == "ROWS":
            tab = self.by_id(place.get("sheetId", 0), where)
            if place["endIndex"] - place.get("startIndex", 0) != 1:
                raise Refusal(f"{where}The location must be exactly one row or column.")
            tab.marks[place.get("startIndex", 0)].append(str(number))
        self.metadata[number] = item
        return {"createDeveloperMetadata": {"developerMetadata": self.located(number)}}

    def _do_deleteDeveloperMetadata(self, body: Any, where: str, _: Any) -> Any:
        found = self.search([body["dataFilter"]])
        for item in found:
            self.metadata.pop(item["metadataId"])
        return {"deleteDeveloperMetadata": {"deletedDeveloperMetadata": found}}

    def located(self, number: int) -> dict[str, Any]:
        """A piece of metadata, with where it is now."""
        item = deepcopy(self.metadata[number])
        for tab in self.tabs:
            for row, marks in enumerate(tab.marks):
                if str(number) in marks:
                    range = {
                        "sheetId": tab.id,
                        "dimension": "ROWS",
                        "startIndex": row,
                        "endIndex": row + 1,
                    }
                    item["location"] = {"locationType": "ROW", "dimensionRange": range}
        return item

    def search(self, filters: Sequence[Any]) -> list[Any]:
        found = []
        for number, item in self.metadata.items():
            for wanted in filters:
                look = wanted.get("developerMetadataLookup", {})
                names = ("metadataId", "metadataKey", "metadataValue")
                if all(name not in look or item.get(name) == look[name] for name in names):
                    found.append(self.located(number))
        return found

    # -- as JSON --

    def properties(self, tab: Tab) -> dict[str, Any]:
        about: dict[str, Any] = {
            "sheetId": tab.id,
            "title": tab.title,
            "index": self.tabs.index(tab),
            "sheetType": tab.kind,
        }
        if tab.kind == "GRID":
            about["gridProperties"] = {"rowCount": tab.row_count, "columnCount": tab.column_count}
            if tab.frozen:
                about["gridProperties"]["frozenRowCount"] = tab.frozen
        if tab.hidden:
            about["hidden"] = True
        return about

    def as_json(self, areas: Mapping[int, Sequence[Area]] | None, with_cells: bool) -> dict[str, Any]:
        """The whole resource; only the tabs that `areas` names, if it names any."""
        sheets = []
        for tab in self.tabs:
            if areas is not None and tab.id not in areas:
                continue
            item: dict[str, Any] = {"properties": self.properties(tab)}
            if tab.merges:
                item["merges"] = tab.merges
            if tab.protected:
                item["protectedRanges"] = tab.protected
            if with_cells and tab.kind == "GRID":
                values = tab.values()
                wanted = areas[tab.id] if areas is not None else [Area()]
                item["data"] = [_grid_data(tab, values, one) for one in wanted]
            sheets.append(item)
        found: dict[str, Any] = {
            "spreadsheetId": self.id,
            "properties": {
                "title": self.title,
                "locale": "en_US",
                "autoRecalc": "ON_CHANGE",
                "timeZone": self.zone,
            },
            "sheets": sheets,
            "spreadsheetUrl": f"https://docs.google.com/spreadsheets/d/{self.id}/edit",
        }
        if self.named:
            found["namedRanges"] = [{"name": name} for name in self.named]
        return found


def _resize(tab: Tab, rows: int) -> None:
    more = rows - tab.row_count
    tab.rows = tab.rows[:rows] + [{} for _ in range(more)]
    tab.marks = tab.marks[:rows] + [[] for _ in range(more)]


def _entered(value: Mapping[str, Any], where: str) -> tuple[str | float | bool | None, str | None]:
    if not value:
        return None, None
    if len(value) != 1:
        raise Refusal(f"{where}Invalid userEnteredValue: exactly one value is needed.")
    ((kind, content),) = value.items()
    match kind, content:
        case "stringValue", str():
            if len(content) > MOST_CHARACTERS:
                raise Refusal(
                    f"{where}Your input contains more than the maximum of {MOST_CHARACTERS} characters in a"
                    " single cell."
                )
            return content or None, None
        case "boolValue", bool():
            return content, None
        case "numberValue", int() | float():
            return as_double(content), None
        case "formulaValue", str() if content.startswith("="):
            return None, content
    raise Refusal(f"{where}Invalid userEnteredValue.")


def _grid_data(tab: Tab, values: Mapping[tuple[int, int], Plain], wanted: Area) -> dict[str, Any]:
    bottom = min(wanted.bottom or tab.row_count, tab.row_count)
    right = min(wanted.right or tab.column_count, tab.column_count)
    rows = []
    for number in range(wanted.top, bottom):
        line = [
            _cell_data(tab.rows[number].get(column), values.get((number, column)))
            for column in range(wanted.left, right)
        ]
        while line and not line[-1]:
            line.pop()
        rows.append({"values": line} if line else {})
    while rows and not rows[-1]:
        rows.pop()
    found: dict[str, Any] = {}
    if wanted.top:
        found["startRow"] = wanted.top
    if wanted.left:
        found["startColumn"] = wanted.left
    return found | ({"rowData": rows} if rows else {})


def _cell_data(cell: Cell | None, value: Plain) -> dict[str, Any]:
    found: dict[str, Any] = {}
    format = cell.format if cell else None
    if cell is not None and cell.formula is not None:
        found["userEnteredValue"] = {"formulaValue": cell.formula}
    elif cell is not None and cell.value is not None:
        found["userEnteredValue"] = extended(cell.value)
    if value is not None:
        found["effectiveValue"] = extended(value)
        found["formattedValue"] = shown(value, format)
    if format:
        found["userEnteredFormat"] = {"numberFormat": format}
        found["effectiveFormat"] = {"numberFormat": format}
    return found


def rendered(tab: Tab, place: tuple[int, int], value: Plain, how: str, dates: str) -> Any:
    """One value as the values API shows it."""
    cell = tab.rows[place[0]].get(place[1], Cell())
    if how == "FORMULA" and cell.formula is not None:
        return cell.formula
    is_date = (cell.format or {}).get("type") in ("DATE", "DATE_TIME", "TIME")
    if how == "FORMATTED_VALUE" or (is_date and dates == "FORMATTED_STRING"):
        return shown(value, cell.format)
    return "" if value is None else as_json(value)

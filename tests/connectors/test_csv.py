"""CSV files keep the contract, and every byte that was not meant to change."""

from __future__ import annotations

import csv
import os
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors import files
from connectors.base import Access, Connector, Outcome, Page, StreamOptions, Write, is_unkeyed
from connectors.csv import Csv, CsvOptions, CsvStreamOptions
from connectors.errors import ConnectorError, OptionsError, StreamGone, Unavailable
from connectors.keyed import Header
from sync.records import Record
from sync.values import Value, display
from tests.connectors.contract import FIELDS, ConnectorContract, Desk, typed

OURS = CsvStreamOptions()
BY_ID = CsvStreamOptions(key="id")


class CsvDesk(Desk):
    """A person with a spreadsheet program."""

    def __init__(self, folder: Path, options: StreamOptions, key: str) -> None:
        self.folder = folder
        self.options = options
        self.key = key
        self.stream_name = "customers.csv"
        self.path = folder / self.stream_name
        self.count = 0
        self._save([[key, *(field.name for field in FIELDS), "extra"]])
        self.connector = self.again()

    def again(self) -> Connector:
        return Csv(CsvOptions(folder=str(self.folder)), Access(folders=(self.folder,)))

    def _load(self) -> list[list[str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))

    def _save(self, rows: list[list[str]]) -> None:
        with self.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def put(self, fields: Mapping[str, Value]) -> str:
        self.count += 1
        id = f"hand-{self.count}"
        header, *rows = self._load()
        cells = {self.key: id, **{name: display(value) for name, value in fields.items()}}
        self._save([header, *rows, [cells.get(name, "") for name in header]])
        return id

    def edit(self, id: str, fields: Mapping[str, Value]) -> None:
        header, *rows = self._load()
        for row in rows:
            if row[header.index(self.key)] == id:
                for name, value in fields.items():
                    row[header.index(name)] = display(value)
        self._save([header, *rows])

    def remove(self, id: str) -> None:
        header, *rows = self._load()
        self._save([header, *(row for row in rows if row[header.index(self.key)] != id)])

    def truth(self) -> dict[str, dict[str, Value]]:
        header, *rows = self._load()
        assert all(len(row) == len(header) for row in rows)
        return {row[header.index(self.key)]: typed(dict(zip(header, row, strict=True))) for row in rows}

    def make_read_only(self) -> None:
        self.path.chmod(0o444)


@pytest.fixture(params=["ours", "a key of the user's"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    if request.param == "ours":
        return CsvDesk(tmp_path, OURS, "sync_id")
    return CsvDesk(tmp_path, CsvStreamOptions(key="Customer ID"), "Customer ID")


class TestCsv(ConnectorContract):
    def test_discover_agrees_with_stream(self) -> None:
        if self.desk.options.key is not None:
            pytest.skip("discover knows no key of the user's")
        super().test_discover_agrees_with_stream()

    def new_stream_name(self) -> str:
        return "made.csv"


class Folder:
    """A folder with one file, and a connector on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "people.csv"
        self.access = Access(folders=(path,))
        self.connector = Csv(CsvOptions(folder=str(path)), self.access)

    def holds(self, content: bytes | str) -> Folder:
        self.file.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def connect(self, **options: Any) -> Folder:
        self.connector = Csv(CsvOptions(folder=str(self.path), **options), self.access)
        return self

    def pages(self, options: StreamOptions = OURS) -> list[Page]:
        return list(self.connector.read(self.connector.stream("people.csv", options), options))

    def records(self, options: StreamOptions = OURS) -> list[Record]:
        return [record for page in self.pages(options) for record in page.records]

    def write(self, *batch: Write, options: StreamOptions = OURS) -> list[Outcome]:
        return self.connector.write(self.connector.stream("people.csv", options), options, batch)

    def update(self, id: str, options: StreamOptions = BY_ID, /, **fields: Value) -> Outcome:
        (outcome,) = self.write(Write("m", "update", id, fields), options=options)
        return outcome

    def create(self, id: str, options: StreamOptions = BY_ID, /, **fields: Value) -> Outcome:
        (outcome,) = self.write(Write("m", "create", id, fields), options=options)
        return outcome

    def delete(self, id: str, options: StreamOptions = BY_ID) -> Outcome:
        (outcome,) = self.write(Write("m", "delete", id), options=options)
        return outcome

    @property
    def content(self) -> bytes:
        return self.file.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# -- bytes --

STYLES = {
    "plain": b"id,name,notes\n1,Ann,x\n2,Bob,y\n3,Cy,z\n",
    "crlf": b"id,name,notes\r\n1,Ann,x\r\n2,Bob,y\r\n3,Cy,z\r\n",
    "mac": b"id,name,notes\r1,Ann,x\r2,Bob,y\r3,Cy,z\r",
    "no final newline": b"id,name,notes\n1,Ann,x\n2,Bob,y\n3,Cy,z",
    "semicolons": b"id;name;notes\n1;Ann;x, y\n2;Bob;y\n3;Cy;z\n",
    "tabs": b"id\tname\tnotes\n1\tAnn\tx\n2\tBob\ty\n3\tCy\tz\n",
    "bars": b"id|name|notes\n1|Ann|x\n2|Bob|y\n3|Cy|z\n",
    "bom": b"\xef\xbb\xbfid,name,notes\r\n1,Ann,x\r\n2,Bob,y\r\n3,Cy,z\r\n",
    "utf-16": "\ufeffid;name;notes\r\n1;Ann;x\r\n2;Bob;y\r\n3;Cy;z\r\n".encode("utf-16-le"),
    "utf-16 big": "\ufeffid;name;notes\r\n1;Ann;x\r\n2;Bob;y\r\n3;Cy;z\r\n".encode("utf-16-be"),
    "all quoted": b'"id","name","notes"\n"1","Ann","x"\n"2","Bob","y"\n"3","Cy","z"\n',
    "texts quoted": b'id,name,notes\n1,"Ann","x"\n2,"Bob","y"\n3,"Cy","z"\n',
    "odd quotes": b'id,name,notes\n1,"Ann",x\n2,Bob,"y"\n"3",Cy,z\n',
    "mixed ends": b"id,name,notes\r\n1,Ann,x\n2,Bob,y\r\n3,Cy,z\n",
    "long cells": b'id,name,notes\n1,"A ""n"" n","x\ny\r\nz"\n2,Bob,y\n3,Cy,"z\n"\n',
    "blank lines": b"\n\nid,name,notes\n1,Ann,x\n\n2,Bob,y\n,,\n3,Cy,z\n\n",
    "spaces": b" id , name,notes \n 1 , Ann, x \n2,Bob,y\n3,Cy,z\n",
}


@pytest.mark.parametrize("style", STYLES)
def test_one_cell_changes_and_no_other_byte(folder: Folder, style: str) -> None:
    folder.holds(STYLES[style])
    encoding = "utf-16-be" if style == "utf-16 big" else "utf-16-le" if style == "utf-16" else "utf-8"
    assert folder.update("2", name="Zoë").status == "done"
    assert folder.content == STYLES[style].replace("Bob".encode(encoding), "Zoë".encode(encoding))


@pytest.mark.parametrize("style", STYLES)
def test_nothing_to_change_leaves_the_file_alone(folder: Folder, style: str) -> None:
    folder.holds(STYLES[style])
    before = folder.file.stat()
    assert folder.update("2", name="Bob").status == "done"
    assert folder.update("9", name="Bob").status == "missing"
    assert folder.delete("9").status == "done"
    assert folder.content == STYLES[style]
    assert folder.file.stat().st_ino == before.st_ino
    assert folder.file.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("style", "line"),
    [
        ("plain", b"4,Dee,\n"),
        ("crlf", b"4,Dee,\r\n"),
        ("no final newline", b"\n4,Dee,"),
        ("semicolons", b"4;Dee;\n"),
        ("bom", b"4,Dee,\r\n"),
        ("all quoted", b'"4","Dee",""\n'),
        ("texts quoted", b'4,"Dee",""\n'),
        ("long cells", b"4,Dee,\n"),
        ("mixed ends", b"4,Dee,\r\n"),
    ],
)
def test_a_new_record_is_a_line_in_the_style_of_the_file(folder: Folder, style: str, line: bytes) -> None:
    folder.holds(STYLES[style])
    assert folder.create("4", name="Dee").status == "done"
    assert folder.content == STYLES[style] + line


@pytest.mark.parametrize("style", STYLES)
def test_what_is_created_and_deleted_leaves_no_trace(folder: Folder, style: str) -> None:
    folder.holds(STYLES[style])
    folder.create("4", name="Dee")
    folder.delete("4")
    assert folder.content == STYLES[style]


def test_a_deleted_last_line_keeps_the_missing_final_newline(folder: Folder) -> None:
    folder.holds(STYLES["no final newline"])
    folder.delete("3")
    assert folder.content == b"id,name,notes\n1,Ann,x\n2,Bob,y"


def test_unknown_columns_and_their_order_are_kept(folder: Folder) -> None:
    folder.holds("note,id,?,name\nx,1,p,Ann\ny,2,q,Bob\n")
    folder.update("2", name="Bea")
    folder.create("3", name="Cy")
    assert folder.content == b"note,id,?,name\nx,1,p,Ann\ny,2,q,Bea\n,3,,Cy\n"


def test_a_cell_is_quoted_where_it_must_be(folder: Folder) -> None:
    folder.holds("id,name\n1,Ann\n")
    folder.update("1", name='a, "b"\nc')
    assert folder.content == b'id,name\n1,"a, ""b""\nc"\n'


def test_mode_and_symbolic_links_are_kept(folder: Folder) -> None:
    folder.holds(STYLES["plain"])
    folder.file.chmod(0o604)
    real = folder.path / "real.csv"
    folder.file.rename(real)
    folder.file.symlink_to(real)
    folder.update("1", name="Zed")
    assert folder.file.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o604
    assert b"Zed" in real.read_bytes()


def test_nothing_is_left_beside_the_file(folder: Folder) -> None:
    folder.holds(STYLES["plain"])
    left_over = folder.path / ".people.csv.abcd.syncline-tmp"
    left_over.write_text("of a process that died")
    folder.update("1", name="Zed")
    assert [path.name for path in folder.path.iterdir()] == ["people.csv"]


# -- values --


@pytest.mark.parametrize(
    ("column", "value", "cell"),
    [
        ("yes,no", True, "yes"),
        ("Yes,", False, "No"),
        ("TRUE,FALSE", True, "TRUE"),
        ("1,0", False, "0"),
        ("Y,N", True, "Y"),
        ("yes,maybe", True, "true"),
        (",", False, "false"),
    ],
)
def test_booleans_follow_the_habit_of_their_column(
    folder: Folder, column: str, value: bool, cell: str
) -> None:
    one, two = column.split(",")
    folder.holds(f"id,on\n1,{one}\n2,{two}\n")
    folder.create("3", on=value)
    assert folder.records(BY_ID)[2].get("on") == cell


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (Decimal("1E+3"), "1000"),
        (Decimal("10.50"), "10.50"),
        (date(2026, 3, 5), "2026-03-05"),
        (datetime(2026, 3, 5, 12, 0, tzinfo=UTC), "2026-03-05T12:00:00Z"),
        (2**70, str(2**70)),
        (("a", "b"), "a, b"),
        ({"b": Decimal("1.50"), "a": [True, None]}, '{"b": 1.50, "a": [true, null]}'),
        ((1, Decimal("2.5")), "[1, 2.5]"),
        (None, ""),
    ],
)
def test_values_are_written_as_plain_text(folder: Folder, value: Value, cell: str) -> None:
    folder.holds("id,value\n1,old\n")
    folder.update("1", value=value)
    assert folder.records(BY_ID)[0].get("value") == cell


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("10.50", Decimal("10.5")),
        ("yes", True),
        ("0042", 42),
        ("2026-03-05T00:00", date(2026, 3, 5)),
        ("", None),
    ],
)
def test_a_cell_that_means_the_value_already_is_left_as_it_is(
    folder: Folder, cell: str, value: Value
) -> None:
    folder.holds(f"id,value,\n1,{cell},x\n")
    before = folder.content
    assert folder.update("1", value=value).status == "done"
    assert folder.content == before


def test_a_sign_that_the_encoding_lacks_is_that_records_problem(folder: Folder) -> None:
    folder.connect(encoding="cp1252").holds("id,name\n1,Zoë\n".encode("cp1252"))
    assert folder.records(BY_ID)[0].get("name") == "Zoë"
    outcome = folder.update("1", name="東京")
    assert (outcome.status, outcome.code, outcome.field) == ("rejected", "encoding", "name")
    assert folder.update("1", name="Žofie").status == "done"
    assert folder.content == "id,name\n1,Žofie\n".encode("cp1252")


# -- ids --


def test_without_a_key_each_row_has_a_provisional_id(folder: Folder) -> None:
    folder.holds("name\nAnn\nBob\n")
    records = folder.records()
    assert all(is_unkeyed(record.id) for record in records)
    assert len({record.id for record in records}) == 2
    assert [dict(record.fields) for record in records] == [{"name": "Ann"}, {"name": "Bob"}]
    stream = folder.connector.stream("people.csv", OURS)
    assert stream.key == ("sync_id",)
    assert stream.by_name["sync_id"].generated
    assert folder.content == b"name\nAnn\nBob\n"


def test_ids_are_filled_batch_by_batch_without_moving_a_version(folder: Folder) -> None:
    folder.holds("name\nAnn\nBob\n")
    ann, bob = folder.records()
    for record, id in ((ann, "s1"), (bob, "s2")):
        (outcome,) = folder.write(
            Write(id, "update", record.id, {"sync_id": id}, expected_version=record.version)
        )
        assert (outcome.status, outcome.id) == ("done", id)
        assert outcome.record is not None
        assert outcome.record.version == record.version
    assert folder.content == b"name,sync_id\nAnn,s1\nBob,s2\n"
    assert [record.id for record in folder.records()] == ["s1", "s2"]


def test_a_fill_finds_its_row_where_rows_were_sorted_meanwhile(folder: Folder) -> None:
    folder.holds("name\nAnn\nBob\n")
    ann, _ = folder.records()
    folder.holds("name\nNew\nBob\nAnn\n")
    folder.write(Write("m", "update", ann.id, {"sync_id": "s1"}, expected_version=ann.version))
    assert folder.content == b"name,sync_id\nNew,\nBob,\nAnn,s1\n"


def test_a_fill_of_a_changed_row_is_stale(folder: Folder) -> None:
    folder.holds("name\nAnn\n")
    (ann,) = folder.records()
    folder.holds("name\nAnna\n")
    (outcome,) = folder.write(Write("m", "update", ann.id, {"sync_id": "s1"}, expected_version=ann.version))
    assert outcome.status == "stale"
    assert folder.content == b"name\nAnna\n"


def test_a_repeated_fill_is_done_and_another_row_does_not_get_the_same_id(folder: Folder) -> None:
    folder.holds("name\nAnn\nBob\n")
    ann, bob = folder.records()
    fill = Write("m", "update", ann.id, {"sync_id": "s1"}, expected_version=ann.version)
    assert folder.write(fill)[0].status == "done"
    assert folder.write(fill)[0].status == "done"
    (outcome,) = folder.write(Write("n", "update", bob.id, {"sync_id": "s1"}, expected_version=bob.version))
    assert (outcome.status, outcome.code) == ("rejected", "exists")
    assert folder.content == b"name,sync_id\nAnn,s1\nBob,\n"


def test_rows_alike_get_different_ids(folder: Folder) -> None:
    folder.holds("name\nAnn\nAnn\n")
    fills = [
        Write(f"m{number}", "update", record.id, {"sync_id": f"s{number}"}, expected_version=record.version)
        for number, record in enumerate(folder.records())
    ]
    folder.write(*fills)
    assert folder.content == b"name,sync_id\nAnn,s0\nAnn,s1\n"


def test_a_fill_may_write_other_fields_too(folder: Folder) -> None:
    folder.holds('"name","notes"\r\n"Ann","x"\r\n\r\n')
    (ann,) = folder.records()
    folder.write(Write("m", "update", ann.id, {"sync_id": "s1", "notes": "y"}, expected_version=ann.version))
    assert folder.content == b'"name","notes","sync_id"\r\n"Ann","y","s1"\r\n\r\n'


def test_a_create_appends_the_column_too(folder: Folder) -> None:
    folder.holds("name\nAnn")
    assert folder.create("s1", OURS, name="Bob").status == "done"
    assert folder.content == b"name,sync_id\nAnn,\nBob,s1"


def test_a_row_without_the_users_key_cannot_be_written(folder: Folder) -> None:
    folder.holds("id,name\n,Ann\n2,Bob\n")
    ann = folder.records(BY_ID)[0]
    assert is_unkeyed(ann.id)
    for write in (Write("m", "update", ann.id, {}), Write("m", "delete", ann.id)):
        (outcome,) = folder.write(write, options=BY_ID)
        assert (outcome.status, outcome.code) == ("rejected", "no_key")
    assert folder.update(ann.id, id="7").code == "no_key"


def test_a_create_without_an_id_is_refused(folder: Folder) -> None:
    folder.holds("id,name\n")
    (outcome,) = folder.write(Write("m", "create", None, {"name": "Ann"}), options=BY_ID)
    assert (outcome.status, outcome.code) == ("rejected", "no_key")
    (outcome,) = folder.write(Write("m", "create", None, {"id": 7, "name": "Ann"}), options=BY_ID)
    assert (outcome.status, outcome.id) == ("done", "7")


def test_a_written_key_renames_the_record(folder: Folder) -> None:
    folder.holds(STYLES["plain"])
    outcome = folder.update("2", id="20")
    assert (outcome.status, outcome.id) == ("done", "20")
    assert folder.update("20", id="1").code == "exists"
    assert folder.update("20", id=None).code == "no_key"
    assert [record.id for record in folder.records(BY_ID)] == ["1", "20", "3"]


def test_a_copied_row_comes_with_the_same_id_and_neither_is_deleted(folder: Folder) -> None:
    folder.holds("id,name\n1,Ann\n2,Bob\n1,Ann copy\n")
    first, _, copy = folder.records(BY_ID)
    assert first.id == copy.id == "1"
    assert folder.update("1", name="Anna").status == "done"
    assert folder.content == b"id,name\n1,Anna\n2,Bob\n1,Ann copy\n"
    outcome = folder.delete("1")
    assert (outcome.status, outcome.code) == ("rejected", "duplicate_id")
    assert "(2, 4)" in outcome.message
    write = Write("m", "update", "1", {"name": "B"}, expected_version=copy.version)
    assert folder.write(write, options=BY_ID)[0].status == "done"
    assert folder.content == b"id,name\n1,Anna\n2,Bob\n1,B\n"


def test_swapped_headers_move_every_version(folder: Folder) -> None:
    before = [record.version for record in folder.holds("id,a,b\n1,x,y\n").records(BY_ID)]
    after = [record.version for record in folder.holds("id,b,a\n1,x,y\n").records(BY_ID)]
    assert before != after


def test_requoting_moves_no_version(folder: Folder) -> None:
    before = [record.version for record in folder.holds("id,a\n1,x\n").records(BY_ID)]
    after = [record.version for record in folder.holds('"id","a"\r\n"1","x"').records(BY_ID)]
    assert before == after


def test_a_file_without_a_header_has_lettered_columns(folder: Folder) -> None:
    options = CsvStreamOptions(key="A", header=Header(include=False))
    folder.holds("1,Ann\n2,Bob\n")
    assert [dict(record.fields) for record in folder.records(options)] == [
        {"A": "1", "B": "Ann"},
        {"A": "2", "B": "Bob"},
    ]
    folder.create("3", options, B="Cy")
    assert folder.content == b"1,Ann\n2,Bob\n3,Cy\n"
    with pytest.raises(OptionsError, match="key: A"):
        folder.records(CsvStreamOptions(header=Header(include=False)))


# -- bad input --


@pytest.mark.parametrize(
    ("content", "message", "code"),
    [
        (b"", "is empty: it has no header row", "no_header"),
        (b"\n\n", "is empty: it has no header row", "no_header"),
        (b"id,name\n1,Ann\n2,Bob,x\n", "line 3: 3 cells, but the header has 2 columns", "ragged_row"),
        (b'id,name\n1,"a\nb"\n2\n', "line 4: 1 cell, but the header has 2 columns", "ragged_row"),
        (b"id,name\n1,Zo\xeb\n", "line 2: the byte 0xEB is not UTF-8", "encoding"),
        (
            b'id,name\n1,"Ann\n2,Bob\n',
            "line 2: a cell begins with a quote that is never closed",
            "broken_quotes",
        ),
        (b'id,name\n1,Ann\n2,"B"ob\n', "line 3: the quotes of a cell are broken", "broken_quotes"),
        ("id,name\n1,Ann\n".encode("utf-16-le"), "looks like UTF-16", "encoding"),
        (b"name,id,id\nAnn,1,2\n", "the header 'id' stands in more than one column", "duplicate_header"),
        (b"ID,name\n1,Ann\n", "Did you mean|Its columns are: ID, name", "unknown_field"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_place_and_remedy(
    folder: Folder, content: bytes, message: str, code: str
) -> None:
    folder.holds(content)
    with pytest.raises(OptionsError, match=message) as caught:
        folder.records(BY_ID)
    assert caught.value.code == code
    assert "people.csv" in caught.value.message
    assert caught.value.message.endswith(".")
    assert folder.content == content


def test_duplicate_and_empty_headers_are_left_out_and_reported(folder: Folder) -> None:
    folder.holds("id,tel,tel,,name\n1,a,b,c,Ann\n")
    stream = folder.connector.stream("people.csv", BY_ID)
    assert [field.name for field in stream.fields] == ["id", "name"]
    assert len(stream.problems) == 2
    assert "columns 2, 3: the header 'tel' stands there more than once" in stream.problems[0]
    assert "column 4: the header is empty" in stream.problems[1]
    assert folder.update("1", tel="x").code == "unknown_field"
    folder.update("1", name="Anna")
    assert folder.content == b"id,tel,tel,,name\n1,a,b,c,Anna\n"


def test_a_broken_file_hides_no_other(folder: Folder) -> None:
    folder.holds(b"id,name\n1\n")
    (folder.path / "fine.csv").write_text("id\n1\n")
    fine, broken = folder.connector.discover()
    assert (fine.name, fine.problems) == ("fine.csv", ())
    assert not broken.writable
    assert "line 2" in broken.problems[0]


@pytest.mark.parametrize(
    "name", ["../people.csv", "/etc/passwd", "..", ".", "", "sub/people.csv", ".hidden.csv", "a\x00b.csv"]
)
def test_a_stream_is_a_file_name_and_no_path(folder: Folder, name: str) -> None:
    with pytest.raises(OptionsError):
        folder.connector.stream(name, OURS)


@pytest.mark.parametrize(
    "name",
    [
        "people", "people.txt", "people.csv.gz", "people.csv.exe", "csv", "people.csv ", "people.csv/",
        "people.csv/..", "./people.csv", "..\\people.csv", ".csv", "people.xlsx", "secret_key",
        "authorized_keys", "people.csv\n", "people.csv\x00.txt", "people.ｃｓｖ",
    ],
)  # fmt: skip
def test_only_files_that_say_so_in_their_name_are_read_and_made(folder: Folder, name: str) -> None:
    folder.holds(b"id,name\n1,a\n")
    if "/" not in name and "\x00" not in name:
        (folder.path / name).write_text("id,name\n1,secret\n")
    before = sorted(path.name for path in folder.path.iterdir())
    assert [stream.name for stream in folder.connector.discover()] == ["people.csv"]
    with pytest.raises(OptionsError):
        folder.connector.stream(name, OURS)
    stream = folder.connector.stream("people.csv", OURS)
    with pytest.raises(OptionsError):
        folder.connector.create_stream(replace(stream, name=name), OURS)
    assert sorted(path.name for path in folder.path.iterdir()) == before


@pytest.mark.parametrize("suffix", ["csv", "tsv", "CSV", "Tsv"])
def test_a_suffix_is_read_in_any_case(folder: Folder, suffix: str) -> None:
    (folder.path / f"more.{suffix}").write_text("id\n1\n")
    assert folder.connector.stream(f"more.{suffix}", OURS).name == f"more.{suffix}"


@pytest.mark.parametrize("target", ["inside.txt", "secret_key", "../secret.csv", "loop"])
def test_a_link_with_a_good_name_does_not_open_another_kind_of_file(folder: Folder, target: str) -> None:
    if target == "loop":
        folder.file.symlink_to(folder.file.name)
    else:
        (folder.path / target).write_text("id\n1\n")
        folder.file.symlink_to(folder.path / target)
    with pytest.raises(OptionsError):
        folder.connector.stream("people.csv", OURS)


def test_a_link_out_of_the_folder_is_refused(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.csv"
    outside.write_text("id\n1\n")
    folder.file.symlink_to(outside)
    with pytest.raises(OptionsError, match="outside the folders"):
        folder.connector.stream("people.csv", OURS)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_our_own_files_are_refused_by_whatever_name(
    folder: Folder, link: Callable[[Path, Path], None]
) -> None:
    own = folder.path / "own.db"
    own.write_text("id\n")
    link(own, folder.file)
    folder.access = Access(folders=(folder.path,), forbidden_files=(own,))
    with pytest.raises(OptionsError, match="belongs to Syncline itself"):
        folder.connect().connector.stream("people.csv", OURS)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_regular_files_are_opened(folder: Folder, make: Callable[[Path], None]) -> None:
    make(folder.file)
    with pytest.raises(OptionsError, match="is not a file"):
        folder.connector.stream("people.csv", OURS)


def test_no_folder_is_open_unless_it_was_opened(tmp_path: Path) -> None:
    for access in (Access(), Access(folders=(tmp_path / "elsewhere",))):
        with pytest.raises(OptionsError, match="SOURCES_FOLDERS"):
            Csv(CsvOptions(folder=str(tmp_path)), access).check()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    connector = Csv(CsvOptions(folder="sheets"), Access(folders=(tmp_path,)))
    with pytest.raises(OptionsError, match="There is no folder 'sheets'"):
        connector.check()
    (tmp_path / "sheets").mkdir()
    assert connector.check() == "The folder 'sheets' holds 0 CSV files."


def test_a_relative_folder_starts_at_the_yaml(tmp_path: Path) -> None:
    assert Csv.anchor({"folder": "sheets"}, tmp_path) == {"folder": str(tmp_path / "sheets")}
    assert Csv.anchor({"folder": "/data"}, tmp_path) == {"folder": "/data"}


# -- others at the same file --


class Meanwhile(Csv):
    """Somebody saves the file after it was read and before it is replaced."""

    saves: list[str]
    path: Path

    def _table(self, path: Path, content: bytes, options: StreamOptions) -> Any:
        table = super()._table(path, content, options)
        if self.saves:
            self.path.write_text(self.saves.pop(0))
        return table


def meanwhile(folder: Folder, *saves: str) -> list[Outcome]:
    connector = Meanwhile(CsvOptions(folder=str(folder.path)), folder.access)
    connector.saves, connector.path = [], folder.file
    stream = connector.stream("people.csv", BY_ID)
    connector.saves = list(saves)
    return connector.write(stream, BY_ID, [Write("m", "update", "1", {"name": "By sync"}, {"name": "Ann"})])


def test_an_edit_between_read_and_replace_is_kept(folder: Folder) -> None:
    folder.holds("id,name,notes\n1,Ann,x\n")
    (outcome,) = meanwhile(folder, "id,name,notes\n1,Ann,edited\n")
    assert outcome.status == "done"
    assert folder.content == b"id,name,notes\n1,By sync,edited\n"


def test_an_edit_of_the_same_field_makes_the_write_stale(folder: Folder) -> None:
    folder.holds("id,name\n1,Ann\n")
    (outcome,) = meanwhile(folder, "id,name\n1,By hand\n")
    assert outcome.status == "stale"
    assert folder.content == b"id,name\n1,By hand\n"


def test_a_file_that_never_rests_is_tried_again_later(folder: Folder) -> None:
    folder.holds("id,name\n1,Ann\n")
    with pytest.raises(Unavailable, match="being written to"):
        meanwhile(folder, *(f"id,name\n1,Ann\n{number},x\n" for number in range(2, 9)))


def test_a_second_run_waits_its_turn(folder: Folder) -> None:
    folder.holds("id,name\n1,Ann\n")
    with files.locked(folder.file), pytest.raises(Unavailable, match="Another run"):
        folder.update("1", name="Zed")
    assert folder.update("1", name="Zed").status == "done"


def test_runs_at_once_lose_no_write(folder: Folder) -> None:
    folder.holds("id,a,b\n1,0,0\n")

    def count_up(column: str) -> None:
        connector = Csv(CsvOptions(folder=str(folder.path)), folder.access)
        stream = connector.stream("people.csv", BY_ID)
        done = 0
        while done < 20:
            try:
                connector.write(stream, BY_ID, [Write("m", "update", "1", {column: done + 1})])
                done += 1
            except Unavailable:
                continue

    threads = [threading.Thread(target=count_up, args=(column,)) for column in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folder.content == b"id,a,b\n1,20,20\n"


def test_a_full_disk_changes_nothing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.holds(STYLES["plain"])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="Make room"):
        folder.update("1", name="Zed")
    assert folder.content == STYLES["plain"]
    assert [path.name for path in folder.path.iterdir()] == ["people.csv"]


def test_a_file_that_vanishes_is_gone(folder: Folder) -> None:
    folder.holds(STYLES["plain"])
    stream = folder.connector.stream("people.csv", BY_ID)
    folder.file.unlink()
    for attempt in (
        lambda: list(folder.connector.read(stream, BY_ID)),
        lambda: folder.connector.write(stream, BY_ID, [Write("m", "delete", "1")]),
        lambda: folder.connector.lookup(stream, BY_ID, ["1"]),
    ):
        with pytest.raises(StreamGone):
            attempt()


def test_errors_are_all_in_the_tree() -> None:
    assert issubclass(StreamGone, ConnectorError)

"""Bad input ends in a sentence that names the place and the remedy, and nothing is written to either side."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.house import House, Said

SHEET = "sheets/people.csv"
YAML = """\
connections:
  crm: {connector: sql, options: {url: "URL"}}
  sheets: {connector: csv, options: {folder: FOLDER}}
syncs:
  people:
    left: {connection: crm, stream: TABLE}
    right: {connection: sheets, stream: FILE}
    match: [email]
    fields:
      - {left: email, right: Email}
      - {left: name, right: Name}
    direction: DIRECTION
    first_run: apply
    retries: 0
"""


def definition(
    url: str = "sqlite:///crm.db",
    folder: str = "sheets",
    table: str = "people",
    file: str = "people.csv",
    direction: str = "bidirectional",
) -> str:
    given = {"URL": url, "FOLDER": folder, "TABLE": table, "FILE": file, "DIRECTION": direction}
    text = YAML
    for name, value in given.items():
        text = text.replace(name, value)
    return text


@pytest.fixture
def shop(house: House) -> House:
    """A database and a sheet with people who are not yet on the other side."""
    house.table(
        "crm.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, name TEXT)",
        "CREATE TABLE keyless (email TEXT, name TEXT)",
        "INSERT INTO people VALUES (1, 'ann@x.org', 'Ann'), (2, 'bob@x.org', 'Bob')",
        "INSERT INTO keyless VALUES ('ann@x.org', 'Ann')",
    )
    house.write(SHEET, "Email,Name\ncid@x.org,Cid\n")
    return house


def refused(shop: House, *command: str) -> Said:
    """What a command says that writes nothing to either side."""
    before = _sides(shop)
    said = shop.run(*command)
    assert _sides(shop) == before
    assert "Traceback" not in said.out + said.err
    return said


def _sides(shop: House) -> dict[str, bytes]:
    """Both sides byte for byte; where a link leads is not theirs."""
    return {
        name: content for name, content in shop.bytes_of().items() if not (shop.folder / name).is_symlink()
    }


# -- what a file or table has become since the sync was applied ------------------------------------


def sheet(content: str | bytes) -> Callable[[House], object]:
    return lambda shop: shop.write(SHEET, content)


def statements(*texts: str) -> Callable[[House], object]:
    return lambda shop: shop.table("crm.db", *texts)


def without_sheet(shop: House) -> None:
    (shop.folder / SHEET).unlink()


def without_folder(shop: House) -> None:
    without_sheet(shop)
    (shop.folder / "sheets").rmdir()


def folder_as_sheet(shop: House) -> None:
    without_sheet(shop)
    (shop.folder / SHEET).mkdir()


def link_to_elsewhere(shop: House) -> None:
    without_sheet(shop)
    (shop.folder / SHEET).symlink_to("/etc/hostname")


def link_to_our_own(shop: House) -> None:
    without_sheet(shop)
    (shop.folder / SHEET).symlink_to(shop.database)


def read_only_sheet(shop: House) -> None:
    (shop.folder / SHEET).chmod(0o444)


def without_database(shop: House) -> None:
    (shop.folder / "crm.db").unlink()


BROKEN: dict[str, tuple[Callable[[House], object], int, tuple[str, ...]]] = {
    "the file is gone": (without_sheet, 1, ("There is no file 'people.csv'", "/sheets'")),
    "a file of another name": (
        lambda shop: (shop.folder / SHEET).rename(shop.folder / "sheets" / "peopel.csv"),
        1,
        ("There is no file 'people.csv'", "Did you mean 'peopel.csv'?"),
    ),
    "the folder is gone": (without_folder, 2, ("There is no folder", "Create it, or correct the option")),
    "a folder in its place": (folder_as_sheet, 2, ("is not a file", "Name a regular file")),
    "a link to elsewhere": (link_to_elsewhere, 2, ("outside the folders", "SOURCES_FOLDERS")),
    "a link to our own": (link_to_our_own, 2, ("belongs to Syncline itself", "Choose another file")),
    "marked read-only": (read_only_sheet, 2, ("'people.csv' is marked read-only", "Make it writable")),
    "a row with too few cells": (
        sheet("Email,Name\ncid@x.org,Cid\ndan@x.org\n"),
        2,
        ("'people.csv', line 3: 1 cell, but the header has 2 columns", "Add or remove a comma"),
    ),
    "a row with too many cells": (
        sheet("Email,Name\ncid@x.org,Cid,7\n"),
        2,
        ("'people.csv', line 2: 3 cells", "put quotes around"),
    ),
    "another encoding": (
        sheet(b"Email,Name\ncid@x.org,C\xefd\n"),
        2,
        ("'people.csv', line 2: the byte 0xEF", "Save the file as UTF-8"),
    ),
    "UTF-16 without a mark": (
        sheet("Email,Name\ncid@x.org,Cid\n".encode("utf-16-le")),
        2,
        ("looks like UTF-16", "Save it as UTF-8"),
    ),
    "a quote that never closes": (
        sheet('Email,Name\ncid@x.org,"Cid\n'),
        2,
        ("line 2: a cell begins with a quote", "double each quote"),
    ),
    "nothing in the file": (sheet(""), 2, ("it has no header row", "Write the names of the columns")),
    "only blank lines": (sheet("\n\n"), 2, ("it has no header row", "Write the names of the columns")),
    "no header at the match column": (
        sheet(",Name\ncid@x.org,Cid\n"),
        2,
        ("'Email', by which records are matched", "Bring it back"),
    ),
    "another header at the match column": (
        sheet("E-mail,Name\ncid@x.org,Cid\n"),
        2,
        ("is no longer a field of people.csv", "Did you mean 'E-mail'?"),
    ),
    "the match column twice": (
        sheet("Email,Email,Name\na,b,Cid\n"),
        2,
        ("columns 1, 2: the header 'Email'", "Rename all but one"),
    ),
    "the database is gone": (without_database, 2, ("There is no SQLite file", "Correct the URL")),
    "no database any more": (
        lambda shop: shop.write("crm.db", "some text that is none\n" * 100),
        2,
        ("'crm.db' is not a SQLite database",),
    ),
    "the table is gone": (
        statements("ALTER TABLE people RENAME TO peoples"),
        1,
        ("There is no table 'people'", "Did you mean 'peoples'?"),
    ),
    "the primary key is gone": (
        statements(
            "CREATE TABLE p AS SELECT * FROM people", "DROP TABLE people", "ALTER TABLE p RENAME TO people"
        ),
        2,
        ("The table 'people' has no primary key", "Add one, or name a column"),
    ),
    "the match column is gone": (
        statements("ALTER TABLE people RENAME COLUMN email TO mail"),
        2,
        (
            "'email', by which records are matched, is no longer a field of people on left",
            "Did you mean 'mail'?",
        ),
    ),
}


@pytest.mark.parametrize("which", BROKEN)
def test_broken_side_stops_the_run_with_a_sentence(shop: House, which: str) -> None:
    spoil, code, parts = BROKEN[which]
    assert shop.apply(definition()).code == 0
    spoil(shop)
    for options in ([], ["--preview"]):
        said = refused(shop, "sync", "people", "--json", *options)
        assert said.code == code, said.out
        summary = said.value
        assert (summary["status"], summary["config"]) == ("failed", "people")
        (error,) = summary["errors"]
        for part in parts:
            assert part in error["message"]
        assert (error["key"], error["side"]) == ("", "")
    plain = refused(shop, "sync", "people")
    assert plain.code == code
    for part in parts:
        assert part in plain.out


def test_run_after_the_repair_goes_through(shop: House) -> None:
    shop.apply(definition())
    shop.write(SHEET, "Email,Name\ncid@x.org\n")
    assert shop.run("sync", "people").code == 2
    shop.write(SHEET, "Email,Name\ncid@x.org,Cid\n")
    assert shop.run("sync", "people").code == 0
    assert len(shop.rows("crm.db", "SELECT * FROM people")) == 3


def test_pipe_in_the_place_of_a_file_is_not_waited_for(shop: House) -> None:
    shop.apply(definition())
    without_sheet(shop)
    os.mkfifo(shop.folder / SHEET)
    said = shop.run("sync", "people", "--json")
    assert (said.code, "is not a file" in said.value["errors"][0]["message"]) == (2, True)
    (shop.folder / SHEET).unlink()


def test_records_that_cannot_be_told_apart_are_set_aside_and_the_rest_flows(shop: House) -> None:
    shop.apply(definition())
    shop.write(SHEET, "Email,Name\ncid@x.org,Cid\ncid@x.org,Cyd\neve@x.org,Eve\n")
    said = shop.run("sync", "people", "--json")
    assert (said.code, said.value["status"], said.value["failed"]) == (3, "partial", 2)
    assert {error["code"] for error in said.value["errors"]} == {"ambiguous_key"}
    assert shop.rows("crm.db", "SELECT name FROM people ORDER BY id") == [("Ann",), ("Bob",), ("Eve",)]


@pytest.mark.parametrize("header", ["Email,Name,X,X", "Email,Name,,"])
def test_columns_that_take_no_part_may_have_no_header_of_their_own(shop: House, header: str) -> None:
    shop.write(SHEET, f"{header}\ncid@x.org,Cid,1,2\n")
    said = shop.apply(definition())
    assert said.code == 0
    assert any("left out" in note for note in said.value["notes"])
    assert shop.run("sync", "people").code == 0
    lines = (shop.folder / SHEET).read_text().splitlines()
    assert lines[0].startswith(header)
    assert lines[1].startswith("cid@x.org,Cid,1,2,")


# -- what is wrong with a definition from the start ------------------------------------------------

WRONG: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "no such database": (
        definition(url="mongodb://h/d"),
        "connections.crm.options.url",
        ("sqlite, postgresql",),
    ),
    "a path for a URL": (definition(url="crm.db"), "connections.crm.options.url", ("sqlite, postgresql",)),
    "no port": (
        definition(url="postgresql://u:hidden@h:port/d"),
        "connections.crm.options.url",
        ("postgresql://user@host:port",),
    ),
    "an option of the driver": (
        definition(url="sqlite:///crm.db?mode=rwc"),
        "connections.crm.options.url",
        ("'mode' is not allowed",),
    ),
    "no file": (
        definition(url="sqlite:///cmr.db"),
        "syncs.people.left",
        ("There is no SQLite file", "it is never created"),
    ),
    "a private address": (
        definition(url="postgresql://u:hidden@10.0.0.1/d"),
        "syncs.people.left",
        ("private network", "ALLOWED_NETWORKS"),
    ),
    "a metadata service": (
        definition(url="postgresql://u@169.254.169.254/d"),
        "syncs.people.left",
        ("never allowed",),
    ),
    "a file elsewhere": (
        definition(url="sqlite:////etc/passwd"),
        "syncs.people.left",
        ("outside the folders", "SOURCES_FOLDERS"),
    ),
    "a folder elsewhere": (
        definition(folder="/etc"),
        "syncs.people.right",
        ("outside the folders", "SOURCES_FOLDERS"),
    ),
    "a folder above": (definition(folder="../.."), "syncs.people.right", ("outside the folders",)),
    "a way out of the folder": (definition(file="../crm.db"), "syncs.people.right", ("without a path",)),
    "our own database": (
        definition(url="sqlite:///.syncline/syncline.db"),
        "syncs.people.left",
        ("belongs to Syncline itself",),
    ),
    "our own keys": (
        definition(folder=".syncline", file="secret_key"),
        "syncs.people.right",
        ("belongs to Syncline itself",),
    ),
    "our own database as a sheet": (
        definition(folder=".syncline", file="syncline.db"),
        "syncs.people.right",
        ("belongs to Syncline itself",),
    ),
    "no primary key": (
        definition(table="keyless"),
        "syncs.people.left.stream",
        ("has no primary key", "name a column with unique values"),
    ),
    "a mapped header twice": (
        definition(file="twice.csv"),
        "syncs.people.fields.1.right",
        ("columns 2, 3: the header 'Name'", "Rename all but one"),
    ),
    "a mapped header empty": (
        definition(file="empty.csv"),
        "syncs.people.fields.0.right",
        ("'Email' is not a field",),
    ),
    "a ragged row": (definition(file="ragged.csv"), "syncs.people.right", ("'ragged.csv', line 3: 1 cell",)),
    "a read-only file": (definition(file="fixed.csv"), "syncs.people.right.stream", ("is marked read-only",)),
}


@pytest.mark.parametrize("which", WRONG)
def test_wrong_definition_is_refused_and_stores_nothing(shop: House, which: str) -> None:
    text, place, parts = WRONG[which]
    shop.write("sheets/twice.csv", "Email,Name,Name\ncid@x.org,Cid,Cyd\n")
    shop.write("sheets/empty.csv", ",Name\ncid@x.org,Cid\n")
    shop.write("sheets/ragged.csv", "Email,Name\ncid@x.org,Cid\ndan@x.org\n")
    shop.write("sheets/fixed.csv", "Email,Name\n").chmod(0o444)
    shop.yaml(text)
    stored = shop.dump()
    said = refused(shop, "apply", "syncline.yaml", "--json")
    assert said.code == 2
    message = said.value["message"]
    assert f", {place}: " in message
    for part in parts:
        assert part in message
    assert "hidden" not in said.out + said.err
    assert shop.dump() == stored


def test_secrets_of_ours_stand_in_no_refusal(shop: House) -> None:
    secret = (shop.folder / ".syncline" / "secret_key").read_text()
    (shop.folder / "sheets" / "link.csv").symlink_to(shop.folder / ".syncline" / "secret_key")
    for text in (definition(folder=".syncline", file="secret_key"), definition(file="link.csv")):
        said = shop.apply(text)
        assert said.code == 2
        assert secret not in said.out + said.err


def test_table_without_a_key_is_not_read_either(shop: House) -> None:
    shop.apply(definition(table="keyless", direction="left_to_right"))
    said = refused(shop, "sync", "people", "--json")
    assert said.code == 2
    assert "The table 'keyless' has no primary key" in said.value["errors"][0]["message"]


def test_database_that_does_not_answer_fails_the_run(shop: House) -> None:
    said = shop.apply(definition(url="postgresql://u:hidden-word@127.0.0.1:1/d"))
    assert said.code == 0
    (note,) = said.value["notes"]
    assert "PostgreSQL at 127.0.0.1:1 refuses connections. Check host and port" in note
    said = refused(shop, "sync", "people", "--json")
    assert (said.code, said.value["errors"][0]["code"]) == (1, "unavailable")
    said = refused(shop, "check", "--json")
    assert said.code == 1
    assert [item["ok"] for item in said.value] == [False, True]
    assert "hidden-word" not in said.out + said.err + shop.dump()

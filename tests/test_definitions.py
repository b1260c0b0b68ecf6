"""`syncline apply`: a file becomes connections and syncs, or one clear mistake and no change at all."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from sync.definition import differences
from tests.house import House

CONNECTIONS = """\
connections:
  crm: {connector: sql, options: {url: "sqlite:///crm.db"}}
  sheets: {connector: csv, options: {folder: sheets}}
"""
WHOLE = """\
connections:
  crm: {connector: sql, options: {url: "sqlite:///crm.db"}}
  sheets: {connector: csv, options: {folder: sheets}}
syncs:
  people:
    left: {connection: crm, stream: people}
    right: {connection: sheets, stream: people.csv}
    match: [email]
    fields:
      - {left: email, right: Email, canon: [trim, lower]}
      - {left: name, right: Name}
      - {left: balance, right: Balance, type: decimal, scale: 2}
"""


@pytest.fixture
def at_home(house: House) -> House:
    """With a database and a sheet, to which WHOLE fits."""
    house.table(
        "crm.db",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT, name TEXT, balance NUMERIC(10, 2),"
        " archived BOOLEAN, updated_at TIMESTAMP)",
        "CREATE VIEW everyone AS SELECT * FROM people",
        "CREATE TABLE keyless (email TEXT, name TEXT)",
    )
    house.write("sheets/people.csv", "Email,Name,Balance,Changed\n")
    return house


def told(house: House, text: str) -> str:
    """The mistake in a file. It is told once, on stdout as JSON and on stderr, and changes nothing."""
    before, files = house.dump(), house.bytes_of("crm.db", "sheets/people.csv")
    said = house.apply(text)
    assert said.code == 2, said.out
    assert set(said.value) == {"error", "message"}
    assert said.value["error"] == "definition"
    message = str(said.value["message"])
    assert said.err == f"Error: {message}\n"
    assert "\n" not in message
    assert house.dump() == before
    assert house.bytes_of("crm.db", "sheets/people.csv") == files
    return message


def changed(old: str, new: str, text: str = WHOLE) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def plus(*lines: str) -> str:
    """WHOLE with more about its sync."""
    return WHOLE + "".join(f"    {line}\n" for line in lines)


def line_of(text: str, part: str) -> int:
    return 1 + text[: text.index(part)].count("\n")


# -- what works ------------------------------------------------------------------------------------


def test_apply_says_what_it_made_and_the_second_time_that_nothing_changed(at_home: House) -> None:
    names = ["connection crm", "connection sheets", "sync people"]
    assert at_home.apply(WHOLE).value == {"created": names, "updated": [], "unchanged": [], "notes": []}
    before = at_home.dump()
    assert at_home.apply(WHOLE).value == {"created": [], "updated": [], "unchanged": names, "notes": []}
    assert at_home.dump() == before


FULL = """\
connections:
  crm: {connector: sql, options: {url: "sqlite:///crm.db"}}
  sheets: {connector: csv, options: {folder: sheets}}
syncs:
  first:
    left: {connection: crm, stream: people}
    right: {connection: sheets, stream: people.csv, key: Email}
    match: [email]
    fields: [{left: email, right: Email}]
    auto: false
  people:
    left: {connection: crm, stream: people, filter: {field: archived, equals: false}}
    right: {connection: sheets, stream: people.csv, header: {include: true}}
    direction: bidirectional
    match: email
    fields:
      - {left: email, right: Email, type: text, canon: [trim, lower]}
      - {left: name, right: Name, transform: {map: {yes: Ja, no: Nein}}}
      - {left: balance, right: Balance, type: decimal, scale: 2, conflict: left_wins}
      - {left: archived, right: Changed, direction: left_to_right}
    new_fields: propose
    conflict: newest_wins
    tie: manual
    granularity: field
    modified: {left: updated_at, right: Changed}
    edit_vs_delete: edit_wins
    deletes: {left_to_right: archive, right_to_left: never, archive: {field: archived, value: true}}
    exclusive: false
    drift: overwrite
    first_run: apply
    guards:
      deletes: {above: 5, share: 0.1, small_above: 2, small_share: 0.5}
      creates: 100
      updates_share: 0.75
      budget: {deletes: 25}
    validation: strict
    linked_records: {resolve: true, create_missing: false}
    header: {include: true}
    batch_size: 50
    retries: 2
    mode: incremental
    cursor: {left: updated_at, overlap: 5m}
    full_every: 1d
    lookback_days: 3
    schedule: {cron: "*/5 * * * *", timezone: Europe/Paris, missed: latest}
    active: true
    auto: true
    priority: high
    after: [first]
    impact: {who: email, called: customers, amount: balance, above: 1000}
"""


def test_every_option_is_taken_and_applied_again_it_is_the_same(at_home: House) -> None:
    said = at_home.apply(FULL)
    assert said.code == 0, said.err
    ((row,),) = at_home.stored("SELECT definition FROM sync_configs WHERE name = 'people'")
    stored = json.loads(row)
    assert stored["guards"]["deletes"]["share"] == "0.1"
    assert stored["fields"][1]["transform"] == {"map": {"yes": "Ja", "no": "Nein"}}
    assert at_home.stored("SELECT cron, timezone, priority FROM sync_configs WHERE name = 'people'") == [
        ("*/5 * * * *", "Europe/Paris", 0)
    ]
    assert at_home.apply(FULL).value["unchanged"] == [
        "connection crm", "connection sheets", "sync first", "sync people",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("guards: off", {"guards": "off"}),
        ('guards: "off"', {"guards": "off"}),
        ("deletes: propagate", {"deletes": {"left_to_right": "propagate", "right_to_left": "propagate"}}),
        ("full_every: 90m", {"full_every": "PT1H30M"}),
        ("full_every: 2.5h", {"full_every": "PT2H30M"}),
        ("full_every: 30", {"full_every": "PT30S"}),
        ("full_every: 1d", {"full_every": "P1D"}),
        ("conflict: left_wins", {"conflict": "left_wins"}),
        ("guards: {updates_share: .5}", {"guards": {"updates_share": "0.5"}}),
    ],
)
def test_short_forms_mean_what_they_say(at_home: House, text: str, stored: dict[str, Any]) -> None:
    assert at_home.apply(f"{WHOLE}    {text}\n").code == 0
    ((row,),) = at_home.stored("SELECT definition FROM sync_configs")
    assert json.loads(row).items() >= stored.items()
    assert at_home.apply(f"{WHOLE}    {text}\n").value["updated"] == []


def test_changed_option_updates_only_what_it_belongs_to(at_home: House) -> None:
    at_home.apply(WHOLE)
    said = at_home.apply(f"{WHOLE}    priority: low\n").value
    assert (said["updated"], said["unchanged"]) == (["sync people"], ["connection crm", "connection sheets"])
    assert at_home.stored("SELECT version, priority FROM sync_configs") == [(2, 2)]
    text = changed("options: {folder: sheets}", "options: {folder: sheets, encoding: cp1252}")
    said = at_home.apply(text).value
    assert said["updated"] == ["connection sheets", "sync people"]


def test_changed_schedule_moves_the_next_time(at_home: House) -> None:
    at_home.apply(f'{WHOLE}    schedule: {{cron: "0 3 1 1 *"}}\n')
    (before,) = at_home.stored("SELECT next_run_at FROM sync_configs")
    at_home.apply(f'{WHOLE}    schedule: {{cron: "0 3 1 7 *"}}\n')
    assert at_home.stored("SELECT next_run_at FROM sync_configs") != [before]
    at_home.apply(f"{WHOLE}    auto: false\n")
    assert at_home.stored("SELECT next_run_at FROM sync_configs") == [(None,)]


def test_sync_may_use_a_connection_that_was_stored_before(at_home: House) -> None:
    at_home.apply(CONNECTIONS)
    said = at_home.apply(WHOLE.replace(CONNECTIONS, ""))
    assert (said.code, said.value["created"]) == (0, ["sync people"])


def test_relative_paths_start_at_the_folder_of_the_file(at_home: House) -> None:
    at_home.write("deep/er/s/people.csv", "Email,Name,Balance\n")
    text = changed("folder: sheets", "folder: s").replace("sqlite:///crm.db", "sqlite:///../../crm.db")
    said = at_home.run("apply", str(at_home.yaml(text, "deep/er/x.yaml")), "--json")
    assert said.code == 0, said.err


def test_environment_stands_in_for_values(at_home: House) -> None:
    at_home.env = {"WHERE": "sheets", "STREAM": "people"}
    text = changed("folder: sheets", 'folder: "${WHERE}"').replace("people.csv", '"${STREAM}.csv"')
    assert at_home.apply(text).code == 0


def test_anchors_aliases_and_merge_keys_work(at_home: House) -> None:
    text = f"""\
{CONNECTIONS}
syncs:
  people: &base
    left: &table {{connection: crm, stream: people}}
    right: {{connection: sheets, stream: people.csv}}
    match: [email]
    fields: [{{left: email, right: Email}}]
    priority: low
  again:
    <<: *base
    left: {{<<: *table, filter: {{field: name, equals: Ann}}}}
    priority: high
"""
    assert at_home.apply(text).code == 0
    ((row,),) = at_home.stored("SELECT definition FROM sync_configs WHERE name = 'again'")
    stored = json.loads(row)
    assert stored["priority"] == "high"
    assert (stored["left"]["stream"], stored["left"]["filter"]["field"]) == ("people", "name")


def test_new_order_of_syncs_is_no_circle_with_the_old_one(at_home: House) -> None:
    def text(first: str, second: str) -> str:
        body = WHOLE.partition("  people:\n")[2]
        return f"{CONNECTIONS}syncs:\n  a:\n{body}    after: [{first}]\n  b:\n{body}    after: [{second}]\n"

    assert at_home.apply(text("b", "")).code == 0
    assert at_home.apply(text("", "a")).code == 0


# -- secrets ---------------------------------------------------------------------------------------

SECRET = "pa55-of-the-crm-4711"
WITH_SECRET = (
    'connections:\n  crm: {connector: sql, options: {url: "postgresql://u@127.0.0.1:1/d", password: "%s"}}\n'
)


@pytest.mark.parametrize(
    "text",
    [
        WITH_SECRET % SECRET,
        WITH_SECRET % "${CRM_PASSWORD}",
        f'connections:\n  crm: {{connector: sql, options: {{url: "postgresql://u:{SECRET}@127.0.0.1:1/d"}}}}\n',
    ],
    ids=["option", "environment", "url"],
)
def test_password_is_stored_encrypted_and_shown_nowhere(house: House, text: str) -> None:
    house.env = {"CRM_PASSWORD": SECRET, "LOG_LEVEL": "DEBUG"}
    said = [house.apply(text)]
    said += [house.run(*command) for command in (("check",), ("check", "--json"), ("doctor",), ("status",))]
    said.append(house.apply(text))
    assert said[0].value["created"] == ["connection crm"]
    assert said[-1].value["unchanged"] == ["connection crm"]
    assert SECRET not in house.dump()
    for one in said:
        assert SECRET not in one.out + one.err
    ((stored,),) = house.stored("SELECT secrets FROM connections")
    assert stored.startswith("v1.local.")
    for file in (house.folder / ".syncline").glob("syncline.db*"):
        assert SECRET.encode() not in file.read_bytes()


def test_changed_and_removed_password_is_an_update(house: House) -> None:
    house.apply(WITH_SECRET % SECRET)
    assert house.apply(WITH_SECRET % "another-one-0815").value["updated"] == ["connection crm"]
    without = 'connections:\n  crm: {connector: sql, options: {url: "postgresql://u@127.0.0.1:1/d"}}\n'
    assert house.apply(without).value["updated"] == ["connection crm"]
    assert house.stored("SELECT secrets FROM connections") == [(None,)]


def test_secret_that_cannot_be_read_any_more_is_entered_again_by_apply(house: House) -> None:
    house.apply(WITH_SECRET % SECRET)
    house.store("UPDATE connections SET secrets = 'v1.local.AAAA.AAAA'")
    assert house.json("check") == [
        {
            "connection": "crm", "connector": "sql", "ok": False, "code": "secret_unreadable",
            "message": house.json("check")[0]["message"],
        }
    ]  # fmt: skip
    assert house.apply(WITH_SECRET % SECRET).value["updated"] == ["connection crm"]
    assert house.json("check")[0]["code"] != "secret_unreadable"


def test_one_unreadable_secret_does_not_stop_the_others(at_home: House) -> None:
    at_home.apply(WITH_SECRET.replace("crm:", "other:") % SECRET)
    at_home.store("UPDATE connections SET secrets = 'v1.local.AAAA.AAAA'")
    assert at_home.apply(WHOLE).code == 0
    text = WHOLE.replace("connection: crm", "connection: other")
    assert "the stored secrets of 'other' cannot be decrypted" in told(at_home, text)


def test_wrong_option_beside_a_secret_does_not_tell_it(house: House) -> None:
    said = house.apply(f"connections:\n  crm: {{connector: sql, options: {{url: 5, password: {SECRET}}}}}\n")
    assert said.code == 2
    assert SECRET not in said.out + said.err
    said = house.apply(
        f'connections:\n  crm: {{connector: sql, options: {{url: "oops://u:{SECRET}@h/d"}}}}\n'
    )
    assert said.code == 2
    assert SECRET not in said.out + said.err


# -- a mistake names file, line, field and the nearest right word ----------------------------------

FIELD = "{left: name, right: Name}"
# text, place, what is said, and the line where it is not that of the last key
MISTAKES: dict[str, Any] = {
    # unknown keys, at each level
    "at the top": (changed("connections:", "conections:"), "conections", "Did you mean 'connections'?"),
    "of a connection": (
        changed("connector: csv", "conector: csv"),
        "connections.sheets.conector",
        "Did you mean 'connector'?",
    ),
    "of options": (
        changed("folder: sheets", "foldr: sheets"),
        "connections.sheets.options.foldr",
        "Did you mean 'folder'?",
    ),
    "of a sync": (plus("first_runs: hold"), "syncs.people.first_runs", "Did you mean 'first_run'?"),
    "of a sync in capitals": (plus("First_run: hold"), "syncs.people.First_run", "Did you mean 'first_run'?"),
    "of an end": (
        changed("stream: people.csv", "stream: people.csv, kye: Email"),
        "syncs.people.right.kye",
        "Did you mean 'key'?",
    ),
    "of an end's own": (
        changed("connection: sheets, ", "conection: sheets, "),
        "syncs.people.right.connection",
        "'connection' is missing. Is it meant by 'conection'?",
    ),
    "of an end's model": (
        changed("stream: people.csv", "stream: people.csv, header: {includ: true}"),
        "syncs.people.right.header.includ",
        "Did you mean 'include'?",
    ),
    "of a field": (
        changed(FIELD, "{left: name, right: Name, typ: text}"),
        "syncs.people.fields.1.typ",
        "Did you mean 'type'?",
    ),
    "of guards": (
        plus("guards: {delets: {above: 3}}"),
        "syncs.people.guards.delets",
        "Did you mean 'deletes'?",
    ),
    "of a guard": (
        plus("guards: {deletes: {abov: 3}}"),
        "syncs.people.guards.deletes.abov",
        "Did you mean 'above'?",
    ),
    "of deletes": (
        plus("deletes: {left_to_rigth: never}"),
        "syncs.people.deletes.left_to_rigth",
        "Did you mean 'left_to_right'?",
    ),
    "of a schedule": (
        plus("schedule: {crom: '* * * * *'}"),
        "syncs.people.schedule.crom",
        "Did you mean 'cron'?",
    ),
    # words
    "connector": (
        changed("connector: csv", "connector: cvs"),
        "connections.sheets.connector",
        "'cvs' is not a connector. Did you mean 'csv'?",
    ),
    "no connector": (
        changed("connector: csv, ", ""),
        "connections.sheets.connector",
        "'connector' is missing.",
    ),
    "connection": (
        changed("connection: sheets", "connection: sheet"),
        "syncs.people.right.connection",
        "there is no connection 'sheet'. Did you mean 'sheets'?",
    ),
    "policy": (
        plus("conflict: left_win"),
        "syncs.people.conflict",
        "'left_win' is not allowed. Did you mean 'left_wins'?",
    ),
    "deletes": (plus("deletes: propagat"), "syncs.people.deletes.left_to_right", "Did you mean 'propagate'?"),
    "guards": (plus("guards: of"), "syncs.people.guards", "'of' is not allowed. Did you mean 'off'?"),
    "priority": (plus("priority: urgent"), "syncs.people.priority", "There are: high, normal, low."),
    "field type": (
        changed("type: decimal", "type: decimals"),
        "syncs.people.fields.2.type",
        "Did you mean 'decimal'?",
    ),
    "canon": (
        changed("canon: [trim, lower]", "canon: [trim, lowr]"),
        "syncs.people.fields.0.canon.1",
        "Did you mean 'lower'?",
    ),
    "transform": (
        changed(FIELD, "{left: name, right: Name, transform: {mapp: {a: b}}}"),
        "syncs.people.fields.1.transform",
        "'mapp' is not a transform",
    ),
    "direction": (
        plus("direction: both"),
        "syncs.people.direction",
        "There are: bidirectional, left_to_right, right_to_left.",
    ),
    "option's word": (
        changed("folder: sheets", "folder: sheets, encoding: utf8"),
        "connections.sheets.options.encoding",
        "'utf-8'",
    ),
    # types
    "text for true": (
        plus("active: perhaps"),
        "syncs.people.active",
        "must be true or false, not 'perhaps'.",
    ),
    "text for a number": (
        plus("batch_size: many"),
        "syncs.people.batch_size",
        "must be a whole number, not 'many'.",
    ),
    "half for a number": (plus("batch_size: 2.5"), "syncs.people.batch_size", "must be a whole number"),
    "too small": (plus("batch_size: 0"), "syncs.people.batch_size", "greater than or equal to 1"),
    "text for a share": (
        plus("guards: {updates_share: most}"),
        "syncs.people.guards.updates_share",
        "must be a number, not 'most'.",
    ),
    "share above one": (
        plus("guards: {updates_share: 90}"),
        "syncs.people.guards.updates_share",
        "less than or equal to 1",
    ),
    "number for a text": (
        changed("folder: sheets", "folder: 7"),
        "connections.sheets.options.folder",
        "must be a text",
    ),
    "text for names": (plus("schedule: hourly"), "syncs.people.schedule", "must hold names with values"),
    "number for deletes": (plus("deletes: 5"), "syncs.people.deletes", "must hold names with values"),
    "list for names": (
        changed("{connection: sheets, stream: people.csv}", "[sheets, people.csv]"),
        "syncs.people.right",
        "must hold names with values",
    ),
    "names for a list": (plus("after: {a: b}"), "syncs.people.after.0", "must be a text"),
    "duration": (
        plus("full_every: daily"),
        "syncs.people.full_every",
        "must be a duration, such as 30s, 5m, 2h or 1d",
    ),
    "endless duration": (plus("full_every: 99999999999999d"), "syncs.people.full_every", "too long"),
    "duration below zero": (plus("full_every: -5"), "syncs.people.full_every", "greater than or equal to"),
    # parts that are missing
    "an end": (
        changed("    right: {connection: sheets, stream: people.csv}\n", ""),
        "syncs.people.right",
        "'right' is missing.",
        5,
    ),
    "the stream": (changed(", stream: people.csv", ""), "syncs.people.right.stream", "'stream' is missing"),
    "the option": (
        changed("options: {folder: sheets}", "options: {}"),
        "connections.sheets.options.folder",
        "'folder' is missing.",
    ),
    "the match": (changed("    match: [email]\n", ""), "syncs.people.match", "`match` is missing"),
    "trusted times": (plus("conflict: newest_wins"), "syncs.people", "newest_wins needs `modified`"),
    "archive's field": (plus("deletes: archive"), "syncs.people", "deletes: archive needs its field"),
    # what does not fit the streams
    "table": (
        changed("stream: people}", "stream: poeple}"),
        "syncs.people.left.stream",
        "Did you mean 'people'?",
    ),
    "file": (
        changed("stream: people.csv", "stream: poeple.csv"),
        "syncs.people.right.stream",
        "Did you mean 'people.csv'?",
    ),
    "left field": (
        changed("left: name,", "left: nam,"),
        "syncs.people.fields.1.left",
        "Did you mean 'name'?",
    ),
    "right field": (
        changed("right: Name}", "right: Nam}"),
        "syncs.people.fields.1.right",
        "Did you mean 'Name'?",
    ),
    "match field": (
        changed("match: [email]", "match: [emial]"),
        "syncs.people.match.0",
        "Did you mean 'email'?",
    ),
    "filter field": (
        changed("stream: people}", "stream: people, filter: {field: nme, equals: a}}"),
        "syncs.people.left.filter.field",
        "Did you mean 'name'?",
    ),
    "filter without a test": (
        changed("stream: people}", "stream: people, filter: {field: name}}"),
        "syncs.people.left.filter",
        "either equals or not_equals",
    ),
    "time field": (
        plus("modified: {left: updated, right: Changed}"),
        "syncs.people.modified.left",
        "Did you mean 'updated_at'?",
    ),
    "key column": (
        changed("stream: people.csv", "stream: people.csv, key: Emial"),
        "syncs.people.right.key",
        "Did you mean 'Email'?",
    ),
    "lossy transform both ways": (
        changed(FIELD, "{left: name, right: Name, transform: trim}"),
        "syncs.people.fields.1.transform",
        "cannot be undone",
    ),
    "map to one, both ways": (
        changed(FIELD, "{left: name, right: Name, transform: {map: {a: x, b: x}}}"),
        "syncs.people.fields.1.transform",
        "cannot be undone",
    ),
    "mapped twice": (
        changed(FIELD, f"{FIELD}\n      - {FIELD}"),
        "syncs.people.fields.2.left",
        "mapped twice",
    ),
    "read-only stream": (
        changed("stream: people}", "stream: everyone, key: id}"),
        "syncs.people.left.stream",
        "a view",
    ),
    "no primary key": (
        changed("stream: people}", "stream: keyless}").replace(
            "      - {left: balance, right: Balance, type: decimal, scale: 2}\n", ""
        ),
        "syncs.people.left.stream",
        "key",
    ),
    "against the direction": (
        changed(FIELD, "{left: name, right: Name, direction: right_to_left}")
        + "    direction: left_to_right\n",
        "syncs.people.fields.1.direction",
        "left_to_right only",
    ),
    # schedules and order
    "cron": (plus("schedule: {cron: '61 * * * *'}"), "syncs.people.schedule.cron", "is not a schedule"),
    "cron of a sync that is off": (
        plus("active: false", "schedule: {cron: 'often'}"),
        "syncs.people.schedule.cron",
        "five fields",
    ),
    "zone": (
        plus("schedule: {cron: '* * * * *', timezone: Europe/Pari}"),
        "syncs.people.schedule.timezone",
        "Did you mean Europe/Paris?",
    ),
    "order": (
        plus("after: [peopel]"),
        "syncs.people.after.0",
        "there is no sync 'peopel'. Did you mean 'people'?",
    ),
    "order in a circle": (plus("after: [people]"), "syncs.people.after", "in a circle: 'people' -> 'people'"),
    # names and values
    "empty name": (changed("  people:\n", '  "":\n'), "syncs.", "a name has 1 to 200 printable characters"),
    "long name": (
        changed("  people:\n", f"  {'x' * 201}:\n"),
        f"syncs.{'x' * 201}",
        "a name has 1 to 200 printable characters",
    ),
    "environment": (
        changed("folder: sheets", 'folder: "${SHEETS_FODLER}"'),
        "connections.sheets.options.folder",
        "the environment has no SHEETS_FODLER. Did you mean SHEETS_FOLDER?",
    ),
    "no date": (
        changed("stream: people}", "stream: people, filter: {field: name, equals: 2026-13-01}}"),
        "syncs.people.left.filter.equals",
        "'2026-13-01' is no timestamp",
    ),
}


@pytest.mark.parametrize("which", MISTAKES)
def test_mistake_is_told_with_its_line_and_the_right_word(at_home: House, which: str) -> None:
    text, place, said, *line = MISTAKES[which]
    at_home.env = {"SHEETS_FOLDER": "x"}
    message = told(at_home, text)
    file, _, rest = message.partition(", line ")
    assert file == str(at_home.folder / "syncline.yaml")
    number, _, rest = rest.partition(", ")
    assert rest.startswith(f"{place}: "), message
    assert said in rest, message
    assert int(number) == (line[0] if line else _line(text, place))


def _line(text: str, place: str) -> int:
    """Where the deepest key of a place that the text has stands; lists are looked through in order."""
    lines = text.splitlines()
    at = 0
    for part in place.split("."):
        if part.isdigit():
            items = [n for n in range(at + 1, len(lines)) if lines[n].startswith("      - ")]
            at = items[int(part)] if lines[at] == "    fields:" else at
            continue
        at = next((n for n in range(at, len(lines)) if _has_key(lines[n], part)), at)
    return at + 1


def _has_key(line: str, key: str) -> bool:
    words = line.replace("{", " ").replace(",", " ").replace('"":', ":").split()
    return f"{key}:" in words


def test_mistake_in_a_list_over_lines_names_the_line_of_the_item(at_home: House) -> None:
    text = changed("    match: [email]\n", "    match:\n      - email\n      - nam\n")
    assert f", line {line_of(text, '- nam')}, syncs.people.match.1: " in told(at_home, text)


def test_mistake_in_what_an_alias_stands_for_names_the_line_where_it_is_written(at_home: House) -> None:
    text = f"""\
{CONNECTIONS}
syncs:
  people: &base
    left: {{connection: crm, stream: people}}
    right: {{connection: sheets, stream: people.csv}}
    match: [email]
    fields: [{{left: email, right: Email}}]
  again:
    <<: *base
    fields: [{{left: emial, right: Email}}]
"""
    assert f", line {line_of(text, 'emial')}, syncs.again.fields.0.left: " in told(at_home, text)


def test_unknown_tables_and_files_are_told_where_there_is_no_near_one(at_home: House) -> None:
    text = changed("stream: people.csv", "stream: zzz.csv")
    message = told(at_home, text)
    assert "There is no file 'zzz.csv'" in message
    assert "Did you mean" not in message


def test_one_mistake_among_many_right_ones_changes_nothing(at_home: House) -> None:
    at_home.apply(WHOLE)
    body = WHOLE.partition("  people:\n")[2]
    told(at_home, f"{WHOLE}    priority: high\n  second:\n{body}    after: [third]\n")
    told(at_home, f"{WHOLE}    after: [second]\n  second:\n{body}    after: [people]\n")


# -- files that are no definition ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it says nothing. It must hold `connections:` and `syncs:`"),
        ("# only a comment\n", "it says nothing. It must hold `connections:` and `syncs:`"),
        ("- a\n- b\n", "it must hold `connections:` and `syncs:`"),
        ("just a text", "it must hold `connections:` and `syncs:`"),
        ("connections: [a]\n", "line 1, connections: `connections` holds names"),
        ("syncs: 7\n", "line 1, syncs: `syncs` holds names"),
        ("syncs: []\n", "line 1, syncs: `syncs` holds names"),
        ("connections:\n  a: csv\n", "line 2, connections.a: a connection has a `connector`"),
        ("connections:\n  a: {connector: csv, options: []}\n", "connections.a.options: options are names"),
        ("syncs:\n  a: [b]\n", "line 2, syncs.a: a sync has a `left` and a `right` end"),
        ("connections:\n\ta: b\n", "line 2: not valid YAML: found character '\\t' that cannot start any"),
        ("connections: {a: b\nsyncs: c\n", "line 2: not valid YAML: "),
        ("a: 'never closed\n", "not valid YAML: found unexpected end of stream"),
        ("connections: {}\n---\nsyncs: {}\n", "line 2: not valid YAML: but found another document"),
        ("connections: {}\nconnections: {}\n", "line 2, connections: 'connections' stands here twice"),
        ("connections:\n  a: {connector: csv}\n  a: {connector: csv}\n", "line 3, connections.a: 'a' stands"),
        ("syncs:\n  a: {active: true, active: false}\n", "line 2, syncs.a.active: 'active' stands here tw"),
        ("syncs: *nobody\n", "line 1: not valid YAML: found undefined alias 'nobody'"),
        ("syncs: &a {b: *a}\n", "syncs.b: this alias stands inside of what it stands for"),
        ("syncs: {<<: 7}\n", "line 1, syncs: `<<` takes names with values"),
        ("{[1, 2]: 3}\n", "a name before `:` must be a word"),
        ("syncs: !!python/object/apply:os.system [ls]\n", "syncs: `syncs` holds names"),
        ("syncs: {a: !!python/name:os.system x}\n", "could not determine a constructor"),
        ("syncs: {a: !secret x}\n", "could not determine a constructor"),
        ("a: \x00b\n", "line 1: not valid YAML: the character #x0000 may not stand there"),
        ("syncs: " + "[" * 20_000, "nested too deeply"),
        (b"connections: {}\nsyncs:\n  caf\xe9: {}\n", "line 3: the byte 0xE9 is not UTF-8. Save the file"),
        ("connections: {}".encode("utf-16"), "line 1: the byte 0xFF is not UTF-8"),
    ],
)  # fmt: skip
def test_file_that_is_no_definition_is_refused_in_a_sentence(
    house: House, content: str | bytes, said: str
) -> None:
    before = house.dump()
    house.write("x.yaml", content)
    answer = house.run("apply", "x.yaml", "--json")
    assert answer.code == 2
    assert said in answer.value["message"]
    assert answer.err == f"Error: {answer.value['message']}\n"
    assert house.dump() == before


def test_file_that_is_not_there_is_refused_in_a_sentence(house: House) -> None:
    assert house.run("apply", "none.yaml").err == "Error: There is no file 'none.yaml'.\n"
    (house.folder / "folder").mkdir()
    said = house.run("apply", "folder")
    assert (said.code, said.err) == (2, "Error: 'folder' cannot be read: Is a directory.\n")


def test_file_with_a_byte_order_mark_is_read(house: House) -> None:
    house.write("x.yaml", b"\xef\xbb\xbf" + b"connections: {}\nsyncs: {}\n")
    assert house.run("apply", "x.yaml").code == 0


def test_aliases_that_blow_up_are_refused_at_once(house: House) -> None:
    levels = ["syncs:", "  l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.monotonic()
    said = house.apply("\n".join(levels))
    assert said.code == 2
    assert "its aliases blow up to too much" in said.err
    assert time.monotonic() - began < 10


def test_large_file_is_refused(house: House) -> None:
    house.write("x.yaml", b"# " + b"x" * 10_000_000)
    assert "is larger than 10 MB" in house.run("apply", "x.yaml").err


def test_side_that_does_not_answer_is_noted_and_the_rest_is_stored(at_home: House) -> None:
    text = changed("sqlite:///crm.db", "postgresql://u@127.0.0.1:1/d") + "    retries: 0\n"
    said = at_home.apply(text)
    assert said.code == 0
    assert "sync people" in said.value["created"]
    (note,) = said.value["notes"]
    assert note.startswith("people: not checked against left: ")


def test_a_change_is_told_word_by_word() -> None:
    before = {
        "left": {"connection": "a", "stream": "x"},
        "conflict": "manual",
        "match": ["email"],
        "fields": [{"left": "email", "right": "E-mail"}, {"left": "name", "right": "Name"}],
    }
    after = {
        "left": {"connection": "a", "stream": "y"},
        "deletes": {"left_to_right": "propagate"},
        "match": ["email"],
        "fields": [{"left": "name", "right": "Customer"}, {"left": "email", "right": "E-mail"}],
    }
    assert {item.place: (item.before, item.after) for item in differences(before, after)} == {
        "left.stream": ("x", "y"),
        "conflict": ("manual", None),
        "deletes.left_to_right": (None, "propagate"),
        "fields.name.right": ("Name", "Customer"),
    }
    assert differences(before, before) == []

"""Every command answers with one JSON value when asked to, and with the exit code that is written down."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import httpx
import pytest

import cli
from settings import new_data_key, new_secret_key
from tasks.redis_server import free_port
from tests.house import House, Said
from tests.pages import SECTIONS, commands_page

ROOT = Path(__file__).parents[1]
YAML = """\
connections:
  crm: {connector: sql, options: {url: "sqlite:///crm.db"}}
  sheets: {connector: csv, options: {folder: sheets}}
syncs:
  people:
    left: {connection: sheets, stream: people.csv, key: id}
    right: {connection: crm, stream: people}
    match: [id]
    fields:
      - {left: id, right: id, type: text}
      - {left: name, right: name}
    retries: 0
"""


@pytest.fixture
def shop(house: House) -> House:
    """A sheet with three people and a table, which takes no name of more than five letters."""
    house.table(
        "crm.db", "CREATE TABLE people (id TEXT PRIMARY KEY NOT NULL, name TEXT CHECK (length(name) <= 5))"
    )
    house.write("sheets/people.csv", "id,name\n1,Ann\n2,Bob\n3,Cid\n")
    assert house.apply(YAML).code == 0
    return house


def applied(shop: House, *more: str) -> None:
    assert shop.apply(YAML + "".join(f"    {line}\n" for line in more)).code == 0


def leaves(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(cli.main))
STAYING = {("up",), ("demo",), ("simulate",)}  # they run until they are stopped

# command -> its arguments, and the exit code, in a shop whose sync RUN has run once; {run} is that run
CALLS: Mapping[tuple[str, ...], tuple[tuple[str, ...], int]] = {
    ("release",): ((), 0),
    ("apply",): (("syncline.yaml",), 0),
    ("check",): ((), 0),
    ("discover",): (("crm",), 0),
    ("sync",): (("people",), 0),
    ("run",): (("people",), 0),
    ("retry",): (("{run}",), 0),
    ("cancel",): (("{run}",), 1),
    ("pause",): (("people",), 0),
    ("resume",): (("people",), 1),
    ("runs",): ((), 0),
    ("status",): ((), 0),
    ("explain",): (("people", "1"), 0),
    ("conflicts", "list"): ((), 0),
    ("conflicts", "resolve"): (("4711", "--take", "left"), 2),
    ("held", "list"): ((), 0),
    ("held", "approve"): (("--all",), 0),
    ("held", "dismiss"): (("--all",), 0),
    ("link",): (("people", "nobody", "nowhere"), 2),
    ("unlink",): (("people", "nobody"), 2),
    ("lost", "list"): ((), 0),
    ("lost", "not-done"): (("4711",), 2),
    ("undo",): (("{run}",), 0),
    ("jobs", "list"): ((), 0),
    ("jobs", "run"): (("cleanup-old-logs",), 0),
    ("rename",): (("sync", "people", "persons"), 0),
    ("workspaces", "list"): ((), 0),
    ("workspaces", "make"): (("North", "--admin", "admin@localhost"), 0),
    ("workspaces", "rename"): (("Default", "Main"), 0),
    ("users", "list"): ((), 0),
    ("users", "add"): (("bob@example.com",), 0),
    ("users", "link"): (("admin@localhost",), 0),
    ("users", "password"): (("admin@localhost",), 2),
    ("users", "reset-code"): (("admin@localhost",), 0),
    ("tokens", "list"): ((), 0),
    ("tokens", "make"): (("cron", "--email", "admin@localhost", "--scope", "read"), 0),
    ("tokens", "revoke"): (("nothing",), 2),
    ("keys", "generate"): ((), 0),
    ("keys", "rotate"): ((), 0),
    ("doctor",): ((), 0),
}


def test_every_command_is_called_here() -> None:
    assert set(CALLS) | STAYING == set(COMMANDS)


@pytest.mark.parametrize("path", list(COMMANDS))
def test_every_command_takes_json(path: tuple[str, ...]) -> None:
    assert any("--json" in option.opts for option in COMMANDS[path].params)


@pytest.mark.parametrize("path", CALLS, ids=" ".join)
def test_answer_is_one_json_value_and_the_exit_code_is_kept(shop: House, path: tuple[str, ...]) -> None:
    run = shop.json("sync", "people")["run"]
    arguments, code = CALLS[path]
    call = [*path, *(argument.format(run=run) for argument in arguments)]
    said = shop.run(*call, "--json")
    assert said.code == code, said
    assert isinstance(said.value, dict | list)
    assert said.out.count("\n") == 1
    if code in (1, 2):
        assert set(said.value) == {"error", "message"}
        assert said.err.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("path", CALLS, ids=" ".join)
def test_answer_without_json_is_for_people(shop: House, path: tuple[str, ...]) -> None:
    run = shop.json("sync", "people")["run"]
    arguments, code = CALLS[path]
    said = shop.run(*path, *(argument.format(run=run) for argument in arguments))
    assert said.code == code
    assert (said.out if code == 0 else said.err).strip()
    assert "Traceback" not in said.out + said.err


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == commands_page(), "Write it anew with: python -m tests.pages"
    assert {name for names in SECTIONS.values() for name in names} == set(cli.main.commands)


def test_every_option_says_what_it_does() -> None:
    for path, command in COMMANDS.items():
        assert command.help, path
        assert command.help.endswith("."), path
        for option in command.params:
            assert isinstance(option, click.Argument) or getattr(option, "help", None), (path, option.name)


def test_commands_in_other_documents_exist() -> None:
    words = {path[0] for path in COMMANDS}
    for page in (*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"):
        for name in re.findall(r"`syncline ([a-z]+)", page.read_text(encoding="utf-8")):
            assert name in words, f"{page.name} speaks of syncline {name}"


# -- sync ------------------------------------------------------------------------------------------

KEYS = [
    "run", "config", "status", "left", "right", "unchanged", "resolved", "conflicts", "held", "failed",
    "excluded", "errors", "duration_ms",
]  # fmt: skip


def test_summary_has_exactly_the_keys_that_are_written_down(shop: House) -> None:
    summary = shop.json("sync", "people")
    assert list(summary) == KEYS
    assert list(summary["left"]) == list(summary["right"]) == ["read", "created", "updated", "deleted"]
    assert (summary["config"], summary["status"]) == ("people", "success")
    assert summary["left"] == {"read": 3, "created": 0, "updated": 0, "deleted": 0}
    assert summary["right"] == {"read": 0, "created": 3, "updated": 0, "deleted": 0}
    assert isinstance(summary["duration_ms"], int)


def test_preview_lists_the_changes_and_makes_none(shop: House) -> None:
    files, stored = shop.bytes_of(), shop.dump()
    preview = shop.json("sync", "people", "--preview")
    assert list(preview) == [*KEYS, "changes"]
    assert preview["changes"][0] == {
        "side": "right", "operation": "create", "key": "1", "before": None,
        "after": {"id": "1", "name": "Ann"}, "state": "planned", "rule": "new",
    }  # fmt: skip
    assert len(preview["changes"]) == 3
    assert (shop.bytes_of(), shop.dump()) == (files, stored)
    done = shop.json("sync", "people")
    same = ("status", "left", "right", "unchanged", "conflicts", "held", "failed", "excluded", "errors")
    assert {name: preview[name] for name in same} == {name: done[name] for name in same}


def test_record_that_fails_makes_the_run_partial(shop: House) -> None:
    shop.write("sheets/people.csv", "id,name\n1,Ann\n2,Bartholomew\n")
    said = shop.run("sync", "people", "--json")
    assert (said.code, said.value["status"], said.value["failed"]) == (3, "partial", 1)
    (error,) = said.value["errors"]
    assert list(error) == ["key", "side", "operation", "code", "message"]
    assert (error["key"], error["side"], error["operation"]) == ("2", "right", "create")
    plain = shop.run("sync", "people")
    assert plain.code == 3
    assert "right create 2: " in plain.out


def test_sync_runs_where_the_schedule_is_off(shop: House) -> None:
    applied(shop, "auto: false")
    assert shop.json("status")[0]["next_run_at"] is None
    assert shop.run("sync", "people").code == 0


@pytest.mark.parametrize("command", [["sync", "people"], ["sync", "people", "--preview"], ["run", "people"]])
def test_inactive_sync_does_not_run(shop: House, command: list[str]) -> None:
    applied(shop, "active: false")
    said = shop.run(*command, "--json")
    assert (said.code, said.value["error"]) == (2, "inactive")
    assert "set `active: true`" in said.value["message"]
    assert shop.rows("crm.db", "SELECT * FROM people") == []


def test_paused_sync_does_not_run_until_it_is_resumed(shop: House) -> None:
    shop.run("pause", "people", "--reason", "stocktaking")
    said = shop.run("sync", "people", "--json")
    assert (said.code, said.value["error"]) == (2, "paused")
    assert "stocktaking" in said.value["message"]
    assert shop.json("status")[0]["status"] == "Paused"
    shop.run("resume", "people")
    assert shop.run("sync", "people").code == 0


def test_run_that_is_queued_or_running_keeps_a_second_one_away(shop: House) -> None:
    run = shop.json("run", "people")["run"]
    assert shop.json("run", "people")["run"] == run  # a second trigger joins the first
    said = shop.run("sync", "people", "--json")
    assert (said.code, said.value["error"]) == (1, "run_active")
    assert run in said.value["message"]
    assert f"syncline cancel {run}" in said.value["message"]
    shop.store("UPDATE sync_runs SET state = 'running', token = 1, lease_until = datetime('now', '+1 hour')")
    said = shop.run("sync", "people", "--json")
    assert (said.code, said.value["error"]) == (1, "run_active")
    assert f"run {run}" in said.value["message"]
    assert shop.rows("crm.db", "SELECT * FROM people") == []


def test_run_left_by_a_killed_command_does_not_block_the_next(shop: House) -> None:
    shop.run("run", "people")
    shop.store(
        "UPDATE sync_runs SET state = 'running', kind = 'manual', token = 1, interruptions = 2,"
        " lease_until = datetime('now', '-1 hour')"
    )
    assert shop.run("sync", "people").code == 0


def test_cancelled_run_makes_room(shop: House) -> None:
    run = shop.json("run", "people")["run"]
    assert shop.json("cancel", run) == {"run": run, "state": "cancelled"}
    assert shop.run("sync", "people").code == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--preview", "--since", "2026-01-01"],
        ["--preview", "--retry", "x"],
        ["--retry", "x", "--since", "2026-01-01"],
    ],
)
def test_options_that_exclude_each_other_are_refused(shop: House, options: list[str]) -> None:
    assert shop.run("sync", "people", *options).code == 2


# -- trying again ----------------------------------------------------------------------------------


@pytest.fixture
def failed(shop: House) -> tuple[House, str]:
    """A run in which two records failed."""
    shop.write("sheets/people.csv", "id,name\n1,Ann\n2,Bartholomew\n3,Cunigunde\n")
    return shop, shop.json("sync", "people")["run"]


def test_retry_here_takes_up_what_failed_and_nothing_else(failed: tuple[House, str]) -> None:
    shop, run = failed
    shop.write("sheets/people.csv", "id,name\n1,Anna\n2,Bart\n3,Cuni\n")
    summary = shop.json("sync", "people", "--retry", run)
    assert (summary["status"], summary["right"]["created"], summary["right"]["updated"]) == ("success", 2, 0)
    assert shop.rows("crm.db", "SELECT name FROM people ORDER BY id") == [("Ann",), ("Bart",), ("Cuni",)]
    newest = shop.json("runs")[0]
    assert (newest["kind"], newest["retry_of"]) == ("retry", run)
    assert shop.json("sync", "people")["right"]["updated"] == 1


def test_retry_of_a_run_that_failed_as_a_whole_takes_up_everything(shop: House) -> None:
    file = shop.folder / "sheets" / "people.csv"
    file.rename(file.with_suffix(".away"))
    run = shop.json("sync", "people")["run"]
    file.with_suffix(".away").rename(file)
    assert shop.json("sync", "people", "--retry", run)["right"]["created"] == 3


def test_retry_of_what_did_not_fail_is_refused(shop: House) -> None:
    run = shop.json("sync", "people")["run"]
    said = shop.run("sync", "people", "--retry", run, "--json")
    assert (said.code, said.value["error"]) == (1, "nothing_failed")
    said = shop.run("sync", "people", "--retry", "no-such-run", "--json")
    assert (said.code, said.value["error"]) == (2, "not_found")


def test_retry_through_the_queue_names_its_records(failed: tuple[House, str]) -> None:
    shop, run = failed
    said = shop.json("retry", run)
    assert said["keys"] == ["2", "3"]
    newest = shop.json("runs")[0]
    assert (newest["run"], newest["state"], newest["kind"]) == (said["run"], "queued", "retry")


def test_retry_through_the_queue_may_be_of_one_record(failed: tuple[House, str]) -> None:
    shop, run = failed
    assert shop.json("retry", run, "--key", "3")["keys"] == ["3"]
    said = shop.run("retry", run, "--key", "1", "--json")
    assert (said.code, said.value["error"]) == (2, "not_found")


# -- names and mistakes in the call ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "right"),
    [
        (["sync", "peple"], "people"),
        (["sync", "peple", "--preview"], "people"),
        (["run", "peple"], "people"),
        (["pause", "peple"], "people"),
        (["resume", "peple"], "people"),
        (["runs", "peple"], "people"),
        (["explain", "peple", "1"], "people"),
        (["conflicts", "list", "peple"], "people"),
        (["held", "list", "peple"], "people"),
        (["held", "approve", "--all", "--sync", "peple"], "people"),
        (["check", "sheet"], "sheets"),
        (["discover", "sheet"], "sheets"),
        (["discover", "crm", "peple"], "people"),
        (["jobs", "run", "cleanup-old-log"], "cleanup-old-logs"),
        (["users", "password", "admin@localhos"], "admin@localhost"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_unknown_name_is_answered_with_the_nearest_one(shop: House, call: list[str], right: str) -> None:
    said = shop.run(*call, "--json")
    assert (said.code, said.value["error"]) == (2, "not_found")
    assert f"Did you mean '{right}'?" in said.value["message"]


@pytest.mark.parametrize(
    "call",
    [["sync"], ["sync", "people", "--fast"], ["nothing"], ["held", "approve"], ["conflicts", "resolve", "1"],
     ["conflicts", "resolve", "one", "--take", "left"], ["jobs", "run"], ["held", "nothing"], ["keys"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_call_is_a_usage_error(shop: House, call: list[str]) -> None:
    assert shop.run(*call).code == 2
    if call != ["keys"]:
        said = shop.run(*call, "--json")
        assert (said.code, said.value["error"]) == (2, "usage")


@pytest.mark.parametrize("group", ["conflicts", "held", "jobs", "users"])
def test_group_without_a_word_lists(shop: House, group: str) -> None:
    assert shop.run(group).out == shop.run(group, "list").out
    assert shop.json(group) == shop.json(group, "list")
    assert "Commands:" in shop.run(group, "--help").out


def test_discover_names_fields_keys_and_what_is_writable(shop: House) -> None:
    (stream,) = shop.json("discover", "crm", "people")
    assert (stream["name"], stream["key"], stream["writable"]) == ("people", ["id"], True)
    assert [field["name"] for field in stream["fields"]] == ["id", "name"]


# -- a new installation, and one that is not ready ---------------------------------------------------


def production(**more: str) -> dict[str, str]:
    made = {"SECRET_KEY": new_secret_key(), "ENCRYPTION_KEYS": new_data_key()}
    return {"DATABASE_URL": "postgresql://u:hidden@127.0.0.1:1/d"} | made | more


@pytest.mark.parametrize("name", ["SECRET_KEY", "ENCRYPTION_KEYS"])
def test_production_without_its_secrets_does_not_start(house: House, name: str) -> None:
    house.env = {key: value for key, value in production().items() if key != name}
    for call in (["status"], ["release"], ["sync", "people"], ["keys", "rotate"]):
        said = house.run(*call, "--json")
        assert (said.code, said.value["error"]) == (2, "settings")
        assert said.value["message"] == f"{name} is not set. Make one with: syncline keys generate"


def test_keys_are_made_where_nothing_is_set_up_yet(house: House) -> None:
    house.env = {"DATABASE_URL": "postgresql://u@h/d"}
    made = house.json("keys", "generate")
    assert list(made) == ["ENCRYPTION_KEYS", "SECRET_KEY"]
    assert made != house.json("keys", "generate")
    house.env |= made
    assert house.json("doctor")["checks"][0]["message"] == "They can be read."


def test_own_database_that_does_not_answer_is_said_in_a_sentence(house: House) -> None:
    house.env = production()
    said = house.run("status", "--json")
    assert (said.code, said.value["error"]) == (1, "database")
    assert said.value["message"].startswith("Syncline's own database failed: ")
    assert "hidden" not in said.out + said.err


def test_named_database_is_migrated_by_release_alone(house: House, pg_url: str) -> None:
    house.env = production(DATABASE_URL=pg_url.replace("postgresql+psycopg", "postgres"))
    for call in (["status"], ["apply", "x.yaml"], ["sync", "people"], ["check"]):
        said = house.run(*call, "--json")
        assert (said.code, said.value["error"]) == (1, "start")
        assert said.value["message"] == "The database has no tables yet. Run: syncline release"
    house.env["ADMIN_EMAILS"] = "ann@example.com"
    assert house.json("release") == {
        "done": [
            "The database was brought to this release's schema.", "ann@example.com is an administrator now.",
        ]
    }  # fmt: skip
    assert house.json("release") == {"done": []}
    assert house.json("status") == []


def test_whole_story_goes_the_same_way_on_postgresql(shop: House, pg_url: str) -> None:
    shop.env = production(DATABASE_URL=pg_url, SOURCES_FOLDERS=".")
    assert shop.run("release").code == 0
    text = YAML + "    first_run: apply\n    guards: {updates_share: 0.75}\n    full_every: 2h\n"
    assert shop.apply(text).value["created"] == ["connection crm", "connection sheets", "sync people"]
    assert shop.apply(text).value["unchanged"] == ["connection crm", "connection sheets", "sync people"]
    assert shop.json("sync", "people", "--preview")["right"]["created"] == 3
    done = shop.json("sync", "people")
    assert (done["status"], done["right"]["created"]) == ("success", 3)
    shop.write("sheets/people.csv", "id,name\n1,Anna\n2,Bob\n3,Cid\n")
    shop.table("crm.db", "UPDATE people SET name = 'Aenne' WHERE id = '1'")
    assert shop.json("sync", "people")["conflicts"] == 1
    (conflict,) = shop.json("conflicts")
    assert shop.run("conflicts", "resolve", str(conflict["id"]), "--take", "left").code == 0
    settled = shop.json("sync", "people")
    assert (settled["status"], settled["right"]["updated"]) == ("success", 1)
    assert shop.json("undo", settled["run"])["right"]["updated"] == 1
    assert shop.rows("crm.db", "SELECT name FROM people WHERE id = '1'") == [("Aenne",)]
    assert shop.json("explain", "people", "1")["state"] == "linked"
    assert [run["kind"] for run in shop.json("runs", "people", "--limit", "2")] == ["undo", "manual"]
    assert shop.json("keys", "rotate")["failed"] == []
    assert {item["check"] for item in shop.json("doctor")["checks"] if item["state"] == "wrong"} == {
        "redis", "workers", "scheduler",
    }  # fmt: skip


def test_named_sqlite_database_is_migrated_by_release_alone(house: House) -> None:
    house.env = {"DATABASE_URL": "sqlite:///deep/own.db"}
    assert house.run("release").code == 0
    assert house.run("status").code == 0
    house.env = {"DATABASE_URL": "sqlite:///other.db"}
    assert house.run("status").code == 1


def test_wrong_key_stops_every_command_in_one_line(house: House) -> None:
    house.env = {"ENCRYPTION_KEYS": new_data_key("local")}
    for call in (["status"], ["release"], ["sync", "people"], ["keys", "rotate"]):
        said = house.run(*call, "--json")
        assert (said.code, said.value["error"]) == (1, "start")
        assert "ENCRYPTION_KEYS does not hold the key that this database was filled under" in said.err


def test_folder_that_cannot_hold_the_state_is_said_in_a_sentence(tmp_path: Path, house: House) -> None:
    house.folder = tmp_path / "elsewhere"
    house.folder.mkdir()
    (house.folder / ".syncline").write_text("a file is in the way")
    said = house.run("status", "--json")
    assert (said.code, said.value["error"]) == (2, "settings")


# -- people, jobs ----------------------------------------------------------------------------------


def test_people_are_let_in_and_given_roles(house: House) -> None:
    assert house.json("users", "add", " Bob@Example.com ", "--role", "operator", "--name", "Bob") == {
        "email": "bob@example.com", "role": "operator", "is_new": True,
    }  # fmt: skip
    assert house.json("users", "add", "bob@example.com", "--role", "admin")["is_new"] is False
    people = {item["email"]: item for item in house.json("users")}
    assert set(people) == {"admin@localhost", "bob@example.com"}
    bob = people["bob@example.com"]
    assert (bob["name"], bob["roles"], bob["has_password"]) == ("Bob", {"Default": "admin"}, False)
    assert house.run("users", "add", "bob").code == 2
    assert house.run("users", "add", "bob@example.com", "--role", "king").code == 2


def test_link_leads_to_the_panel(house: House) -> None:
    assert house.json("users", "link", "admin@localhost")["url"].startswith("http://127.0.0.1:8000/sign-in/")
    house.env = {"PUBLIC_URL": "https://sync.example.com/"}
    url = house.run("users", "link", "admin@localhost").out.strip()
    assert url.startswith("https://sync.example.com/sign-in/")
    token = url.rpartition("/")[2]
    assert token not in house.dump()
    assert house.run("users", "link", "nobody@example.com").code == 2


def test_password_comes_from_stdin_and_is_kept_as_a_hash(house: House) -> None:
    said = house.run("users", "password", "admin@localhost", "--json", stdin="correct horse battery\n")
    assert (said.code, said.value) == (0, {"email": "admin@localhost"})
    assert house.json("users")[0]["has_password"]
    assert "correct horse" not in house.dump() + said.out + said.err
    for short in ("short", ""):
        said = house.run("users", "password", "admin@localhost", "--json", stdin=f"{short}\n")
        assert (said.code, said.value["error"]) == (2, "password")


def test_jobs_are_listed_and_run(shop: House) -> None:
    jobs = {item["job"]: item for item in shop.json("jobs")}
    assert {"cleanup-old-logs", "run-auto-syncs"} <= set(jobs)
    assert all(item["does"].endswith(".") for item in jobs.values())
    done = shop.json("jobs", "run", "cleanup-old-logs", "--retention-days", "3")
    assert (done["job"], done["state"], done["result"]["retention_days"]) == (
        "cleanup-old-logs",
        "success",
        3,
    )
    assert shop.run("jobs", "run", "cleanup-old-logs", "--retention-days", "0").code == 2
    assert shop.run("jobs", "run", "run-auto-syncs", "--retention-days", "3").code == 2
    assert shop.json("jobs", "run", "run-auto-syncs")["result"]["queued"] == 1
    assert shop.json("runs")[0]["state"] == "queued"


# -- keys ------------------------------------------------------------------------------------------

SECRET = "pa55-of-the-crm-4711"


@pytest.fixture
def keyed(house: House) -> tuple[House, str, str]:
    """Three connections with a password, under the first of two keys."""
    old = (house.folder / ".syncline" / "encryption_keys").read_text()
    lines = [
        f'  c{n}: {{connector: sql, options: {{url: "postgresql://u@127.0.0.1:1/d", password: {SECRET}}}}}'
        for n in range(3)
    ]
    house.apply("\n".join(["connections:", *lines, "  plain: {connector: memory, options: {}}"]))
    return house, old, new_data_key("fresh")


def secrets_are_read(house: House) -> bool:
    return not any(item.get("code") == "secret_unreadable" for item in house.json("check"))


def test_keys_are_rotated_and_the_old_one_can_go(keyed: tuple[House, str, str]) -> None:
    house, old, new = keyed
    house.env = {"ENCRYPTION_KEYS": f"{new},{old}"}
    assert secrets_are_read(house)
    assert house.json("keys", "rotate") == {"rotated": 3, "current": 0, "failed": []}
    assert house.json("keys", "rotate") == {"rotated": 0, "current": 3, "failed": []}
    house.env = {"ENCRYPTION_KEYS": new}
    assert house.run("status").code == 0
    assert secrets_are_read(house)
    stored = [value for (value,) in house.stored("SELECT secrets FROM connections WHERE secrets IS NOT NULL")]
    assert len(stored) == 3
    assert all(value.startswith("v1.fresh.") for value in stored)


def test_rotation_that_was_cut_short_goes_on(keyed: tuple[House, str, str]) -> None:
    house, old, new = keyed
    ((before,),) = house.stored("SELECT secrets FROM connections WHERE name = 'c2'")
    house.env = {"ENCRYPTION_KEYS": f"{new},{old}"}
    house.run("keys", "rotate")
    house.store("UPDATE connections SET secrets = ? WHERE name = 'c2'", before)
    assert house.json("keys", "rotate") == {"rotated": 1, "current": 2, "failed": []}


def test_rotation_names_what_it_could_not_read_and_the_old_key_stays_needed(
    keyed: tuple[House, str, str],
) -> None:
    house, old, new = keyed
    house.store("UPDATE connections SET secrets = 'v1.local.AAAA.AAAA' WHERE name = 'c1'")
    house.env = {"ENCRYPTION_KEYS": f"{new},{old}"}
    said = house.run("keys", "rotate", "--json")
    assert (said.code, said.value) == (1, {"rotated": 2, "current": 0, "failed": ["c1"]})
    assert "'c1' cannot be decrypted: enter its secrets again." in house.run("keys", "rotate").out
    house.env = {"ENCRYPTION_KEYS": new}
    assert house.run("status").code == 1


def test_lost_key_is_given_up_only_when_that_is_said(keyed: tuple[House, str, str]) -> None:
    house, _, new = keyed
    house.env = {"ENCRYPTION_KEYS": new}
    said = house.run("keys", "rotate", "--json")
    assert (said.code, said.value["error"]) == (1, "start")
    assert "syncline keys rotate --lost" in said.value["message"]
    said = house.run("keys", "rotate", "--lost", "--json")
    assert (said.code, said.value) == (1, {"rotated": 0, "current": 0, "failed": ["c0", "c1", "c2"]})
    assert house.run("status").code == 0
    assert not secrets_are_read(house)


def test_run_whose_secret_is_unreadable_says_so_and_others_go_on(shop: House) -> None:
    text = (
        'connections:\n  crm: {connector: sql, options: {url: "postgresql://u@127.0.0.1:1/d", password: x}}\n'
    )
    shop.apply(text)
    shop.store("UPDATE connections SET secrets = 'v1.local.AAAA.AAAA' WHERE secrets IS NOT NULL")
    said = shop.run("sync", "people", "--json")
    assert (said.code, said.value["status"]) == (1, "failed")
    (error,) = said.value["errors"]
    assert error["code"] == "secret_unreadable"
    assert "'crm' cannot be used" in error["message"]
    assert [item["ok"] for item in shop.json("check")] == [False, True]
    assert shop.run("status").code == 0


# -- the doctor ------------------------------------------------------------------------------------


def findings(said: Said) -> dict[str, tuple[str, str]]:
    return {item["check"]: (item["state"], item["message"]) for item in said.value["checks"]}


def test_doctor_finds_a_local_installation_well(shop: House) -> None:
    stored = shop.dump()
    said = shop.run("doctor", "--json")
    assert (said.code, said.value["ok"]) == (0, True)
    found = findings(said)
    assert {check: state for check, (state, _) in found.items()} == {
        "settings": "ok", "database": "ok", "keys": "ok", "redis": "ok", "workers": "warning",
        "scheduler": "warning", "audit": "ok", "connection crm": "ok", "connection sheets": "ok",
    }  # fmt: skip
    assert shop.dump() == stored


def test_doctor_names_everything_that_is_wrong(shop: House) -> None:
    shop.write("crm.db", "no database " * 100)
    (shop.folder / ".syncline" / "secret_key").chmod(0o644)
    shop.env = {"REDIS_URL": "redis://127.0.0.1:1", "SOURCES_FOLDERS": ".:missing"}
    said = shop.run("doctor", "--json")
    assert (said.code, said.value["ok"]) == (1, False)
    wrong = {check: message for check, (state, message) in findings(said).items() if state == "wrong"}
    assert set(wrong) == {"files", "redis", "connection crm"}
    assert any("chmod 600" in item["message"] for item in said.value["checks"])
    assert any("there is no folder" in item["message"] for item in said.value["checks"])
    assert "WRONG" in shop.run("doctor").out


def test_doctor_tells_mistakes_in_the_settings(house: House) -> None:
    house.env = {"PORT": "x", "REDIS_URI": "redis://h"}
    said = house.run("doctor", "--json")
    assert said.code == 1
    assert [item["message"] for item in said.value["checks"]] == [
        "REDIS_URI is not a setting. Did you mean REDIS_URL?", "PORT must be a whole number, not 'x'.",
    ]  # fmt: skip


@pytest.mark.parametrize("spoil", ["schema", "key", "away"])
def test_doctor_tells_what_is_wrong_with_the_database(house: House, spoil: str) -> None:
    if spoil == "schema":
        house.store("UPDATE alembic_version SET version_num = '9999'")
    elif spoil == "key":
        house.env = {"ENCRYPTION_KEYS": new_data_key("local")}
    else:
        house.env = production()
    said = house.run("doctor", "--json")
    assert said.code == 1
    state, message = findings(said)["keys" if spoil == "key" else "database"]
    assert state == "wrong"
    assert {"schema": "9999", "key": "ENCRYPTION_KEYS", "away": "own database"}[spoil] in message
    assert "hidden" not in said.out


def test_doctor_sees_processes_at_work(shop: House, redis_url: str) -> None:
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    for kind, ticked in (("worker", "NULL"), ("tick", now)):
        values = f"'{kind}', '{kind}', {now}, {now}, {ticked}"
        shop.store(f"INSERT INTO processes (id, kind, started_at, beat_at, ticked_at) VALUES ({values})")
    shop.env = {"REDIS_URL": redis_url}
    found = findings(shop.run("doctor", "--json"))
    assert (found["workers"], found["scheduler"], found["redis"][0]) == (
        ("ok", "1 is at work."),
        ("ok", "It ticks."),
        "ok",
    )


def test_doctor_before_the_first_start_makes_nothing(tmp_path: Path, house: House) -> None:
    house.folder = tmp_path / "new"
    house.folder.mkdir()
    said = house.run("doctor", "--json")
    assert (said.code, findings(said)["database"][0]) == (0, "ok")
    assert not house.database.exists()


# -- as processes ----------------------------------------------------------------------------------


def process(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell starts it, with hardly any environment."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *args],
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_stdout_holds_only_json_and_logs_go_to_stderr(shop: House) -> None:
    done = process(shop.folder, "sync", "people", "--json", LOG_LEVEL="DEBUG", LOG_FORMAT="json")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == KEYS
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert {"run.started", "run.ended"} <= set(events)


def test_reader_that_goes_away_is_no_bug(shop: House) -> None:
    command = f"{sys.executable} -m cli status | true"
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=shop.folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_first_command_in_an_empty_folder_needs_nothing(tmp_path: Path) -> None:
    done = process(tmp_path, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "There are no syncs yet. Describe one in a YAML file: syncline apply FILE\n"
    assert (tmp_path / ".syncline" / "syncline.db").exists()


def test_up_says_where_the_panel_is_as_one_json_value(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    env = {"PATH": path, "PYTHONPATH": str(ROOT), "PORT": str(free_port())}
    command = [sys.executable, "-m", "cli", "up", "--json"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=log, text=True
        ) as running,
    ):
        assert running.stdout is not None
        found = json.loads(running.stdout.readline() or "{}")
        running.terminate()
        rest, _ = running.communicate(timeout=60)
    assert (running.returncode, rest) == (0, "")
    assert found["panel"] == f"http://127.0.0.1:{env['PORT']}"
    assert found["sign_in"].startswith(f"{found['panel']}/sign-in/")


def test_simulated_system_serves_until_it_is_stopped(tmp_path: Path) -> None:
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli", "simulate", "airtable", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        found = json.loads(running.stdout.readline() or "{}")
        page = httpx.get(found["url"], trust_env=False)
        running.terminate()
        assert (running.wait(timeout=30), page.status_code) == (0, 200)
    assert "Customers" in page.text and found["url"] in " ".join(found["hints"])
    assert list(tmp_path.iterdir()) == [], "it keeps nothing"


def test_unknown_system_is_answered_with_the_nearest_one(house: House) -> None:
    said = house.run("simulate", "airtabel")
    assert said.code == 2 and "Did you mean 'airtable'?" in said.err

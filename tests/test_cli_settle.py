"""What waits is settled from the command line: held changes, conflicts, undo; and a record is explained."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from tests.house import House, Said

FIELDS = ("id", "name", "n")
YAML = """\
connections:
  left: {connector: CONNECTOR, options: OPTIONS}
  right: {connector: csv, options: {folder: right}}
syncs:
  people:
    left: {connection: left, stream: STREAM, key: id}
    right: {connection: right, stream: q.csv, key: id}
    match: [id]
    fields:
      - {left: id, right: id, type: text}
      - {left: name, right: name}
      - {left: n, right: n, type: decimal}
    retries: 0
"""


class Ends:
    """A sync between a sheet or a table on the left and a sheet on the right."""

    def __init__(self, house: House, kind: str) -> None:
        self.house, self.kind = house, kind
        if kind == "sql":
            columns = "id VARCHAR(20) PRIMARY KEY NOT NULL, name TEXT, n NUMERIC(12, 2)"
            house.table("l.db", f"CREATE TABLE p ({columns})")
        else:
            house.write("left/p.csv", "id,name,n\n")
        house.write("right/q.csv", "id,name,n\n")

    def start(self, *more: str) -> None:
        given = ("csv", "{folder: left}", "p.csv")
        if self.kind == "sql":
            given = ("sql", '{url: "sqlite:///l.db"}', "p")
        text = YAML + "".join(f"    {line}\n" for line in more)
        for name, value in zip(("CONNECTOR", "OPTIONS", "STREAM"), given, strict=True):
            text = text.replace(name, value)
        said = self.house.apply(text)
        assert said.code == 0, said.err

    def fill(self, side: str, *rows: tuple[str, str, str]) -> None:
        """Let a side hold exactly these records."""
        if side == "left" and self.kind == "sql":
            quoted = [", ".join(f"'{cell}'" for cell in row) for row in rows]
            statements = [f"INSERT INTO p VALUES ({cells})" for cells in quoted]
            self.house.table("l.db", "DELETE FROM p", *statements)
            return
        lines = ["id,name,n", *(",".join(row) for row in rows)]
        self.house.write("left/p.csv" if side == "left" else "right/q.csv", "\n".join(lines) + "\n")

    def names(self, side: str) -> dict[str, str]:
        """id -> name."""
        if side == "left" and self.kind == "sql":
            return dict(self.house.rows("l.db", "SELECT id, name FROM p"))
        file = "left/p.csv" if side == "left" else "right/q.csv"
        text = (self.house.folder / file).read_text()
        return {row["id"]: row["name"] for row in csv.DictReader(io.StringIO(text))}

    def sync(self) -> dict[str, Any]:
        said = self.house.run("sync", "people", "--json")
        summary: dict[str, Any] = said.value
        assert said.code == {"success": 0, "partial": 3, "failed": 1}[summary["status"]], said.out
        return summary

    def held(self) -> list[dict[str, Any]]:
        return list(self.house.json("held", "list", "people"))

    def conflicts(self) -> list[dict[str, Any]]:
        return list(self.house.json("conflicts"))


@pytest.fixture
def ends(request: pytest.FixtureRequest, house: House) -> Ends:
    return Ends(house, getattr(request, "param", "csv"))


on_both_kinds = pytest.mark.parametrize("ends", ["csv", "sql"], indirect=True)


@pytest.fixture
def linked(ends: Ends) -> Ends:
    """Three records in agreement; conflicts wait for a person, deletes are carried over."""
    ends.fill("left", ("1", "Ann", "1"), ("2", "Bob", "2"), ("3", "Cid", "3"))
    ends.start("deletes: propagate")
    assert ends.sync()["right"]["created"] == 3
    return ends


@pytest.fixture
def at_odds(linked: Ends) -> Ends:
    """The name of record 2 was changed on both sides, and record 1 on the left."""
    linked.fill("left", ("1", "Anna", "1"), ("2", "Bert", "2"), ("3", "Cid", "3"))
    linked.fill("right", ("1", "Ann", "1"), ("2", "Bill", "2"), ("3", "Cid", "3"))
    summary = linked.sync()
    assert (summary["conflicts"], summary["right"]["updated"]) == (1, 1)
    return linked


@pytest.fixture
def held(ends: Ends) -> Ends:
    """Both sides held records before their first run: everything waits for a look."""
    ends.fill("left", ("1", "Ann", "1"), ("2", "Bob", "2"))
    ends.fill("right", ("3", "Cid", "3"))
    ends.start()
    summary = ends.sync()
    assert (summary["held"], summary["left"]["created"], summary["right"]["created"]) == (3, 0, 0)
    return ends


def ids(found: list[dict[str, Any]], **wanted: Any) -> list[str]:
    return [str(item["id"]) for item in found if all(item[name] == value for name, value in wanted.items())]


# -- held changes ----------------------------------------------------------------------------------


def test_held_changes_are_listed_with_their_reason_and_nothing_is_written(held: Ends) -> None:
    found = held.held()
    assert [(item["operation"], item["side"], item["key"]) for item in found] == [
        ("create", "left", "3"), ("create", "right", "1"), ("create", "right", "2"),
    ]  # fmt: skip
    assert {item["guard"] for item in found} == {"first_run"}
    assert found[1]["after"] == {"id": "1", "name": "Ann", "n": "1"}
    assert (held.names("left"), held.names("right")) == ({"1": "Ann", "2": "Bob"}, {"3": "Cid"})
    assert held.sync()["held"] == 3
    assert ids(held.held()) == ids(found)  # the same ones, not new ones


def test_one_approval_lets_one_change_through(held: Ends) -> None:
    (wanted,) = ids(held.held(), key="1")
    said = held.house.json("held", "approve", wanted)
    assert [(item["key"], item["state"]) for item in said] == [("1", "approved")]
    summary = held.sync()
    assert (summary["status"], summary["held"], summary["right"]["created"]) == ("partial", 2, 1)
    assert held.names("right") == {"3": "Cid", "1": "Ann"}


@on_both_kinds
def test_approval_of_all_lets_all_through(held: Ends) -> None:
    assert len(held.house.json("held", "approve", "--all", "--sync", "people")) == 3
    assert held.sync()["status"] == "success"
    assert held.names("left") == held.names("right") == {"1": "Ann", "2": "Bob", "3": "Cid"}
    assert held.held() == []
    assert held.house.json("held", "approve", "--all") == []


def test_approval_is_for_what_was_shown(held: Ends) -> None:
    held.house.run("held", "approve", "--all")
    held.fill("left", ("1", "Anna", "1"), ("2", "Bob", "2"))
    summary = held.sync()
    assert summary["held"] == 1
    assert held.names("right") == {"3": "Cid", "2": "Bob"}
    assert held.held()[0]["after"]["name"] == "Anna"


def test_approval_lasts_a_day(held: Ends) -> None:
    held.house.run("held", "approve", "--all")
    held.house.store(
        "UPDATE changes SET decided_at = datetime(decided_at, '-25 hours') WHERE state = 'approved'"
    )
    assert held.sync()["held"] == 3
    assert held.names("right") == {"3": "Cid"}
    assert {item["state"] for item in held.held()} == {"held"}


def test_dismissed_change_is_not_made_and_not_asked_about_again(held: Ends) -> None:
    (wanted,) = ids(held.held(), key="1")
    said = held.house.json("held", "dismiss", wanted)
    assert [(item["key"], item["state"]) for item in said] == [("1", "dismissed")]
    assert held.sync()["held"] == 2
    held.house.run("held", "dismiss", "--all")
    summary = held.sync()
    assert (summary["status"], summary["held"]) == ("success", 0)
    assert (held.names("left"), held.names("right")) == ({"1": "Ann", "2": "Bob"}, {"3": "Cid"})


def test_dismissed_change_is_asked_about_anew_when_it_has_become_another(held: Ends) -> None:
    held.house.run("held", "dismiss", "--all")
    held.fill("left", ("1", "Anna", "1"), ("2", "Bob", "2"))
    assert held.sync()["held"] == 1
    assert held.held()[0]["key"] == "1"


def test_held_change_whose_reason_is_gone_withdraws_itself(held: Ends) -> None:
    held.fill("left", ("2", "Bob", "2"))
    assert held.sync()["held"] == 2
    assert ids(held.held(), key="1") == []


@pytest.mark.parametrize("verb", ["approve", "dismiss"])
def test_decision_on_what_is_not_held_is_refused_and_decides_nothing(held: Ends, verb: str) -> None:
    found = ids(held.held())
    said = held.house.run("held", verb, found[0], "4711", "--json")
    assert (said.code, said.value["error"]) == (2, "not_found")
    assert held.house.run("held", verb, found[0]).code == 0
    said = held.house.run("held", verb, found[1], found[0], "--json")
    assert (said.code, said.value["error"]) == (1, "wrong_state")
    assert ids(held.held(), state="held") == found[1:]
    for nothing in ([], [found[1], "--all"]):
        assert held.house.run("held", verb, *nothing).code == 2


def test_who_decided_is_kept(held: Ends) -> None:
    held.house.run("held", "approve", "--all")
    ((who,),) = held.house.stored("SELECT DISTINCT decided_by FROM changes WHERE decided_by IS NOT NULL")
    assert who.endswith("(command line)")
    assert held.house.stored("SELECT count(*) FROM audit_events WHERE action = 'change.approved'") == [(3,)]


@on_both_kinds
def test_mass_delete_is_held_and_goes_through_when_approved(linked: Ends) -> None:
    linked.fill("left", ("1", "Ann", "1"))
    linked.fill("right", ("1", "Ann", "1"), ("2", "Bob", "2"), ("3", "Cid", "3"))
    assert linked.sync()["right"]["deleted"] == 2  # below the guard's three
    linked.fill("left")
    assert linked.sync()["held"] == 1
    assert linked.held()[0]["guard"] == "empty_side"
    assert linked.names("right") == {"1": "Ann"}
    linked.house.run("held", "approve", "--all")
    assert linked.sync()["right"]["deleted"] == 1
    assert linked.names("right") == {}


# -- conflicts -------------------------------------------------------------------------------------


def test_conflict_shows_both_values_and_what_was_agreed_on(at_odds: Ends) -> None:
    (conflict,) = at_odds.conflicts()
    assert (conflict["config"], conflict["key"], conflict["field"]) == ("people", "2", "name")
    assert (conflict["left"], conflict["right"]) == ("Bert", "Bill")
    assert (conflict["left_shadow"], conflict["right_shadow"]) == ("Bob", "Bob")
    assert not conflict["answered"]
    assert (at_odds.names("left")["2"], at_odds.names("right")["2"]) == ("Bert", "Bill")
    assert at_odds.sync()["conflicts"] == 1
    assert ids(at_odds.conflicts()) == [str(conflict["id"])]


@on_both_kinds
@pytest.mark.parametrize(
    ("take", "becomes", "sentence"),
    [
        ("left", "Bert", "right becomes 'Bert'"),
        ("right", "Bill", "left becomes 'Bill'"),
        ("Berta", "Berta", "both sides become 'Berta'"),
    ],
)
def test_answer_is_written_by_the_next_run(at_odds: Ends, take: str, becomes: str, sentence: str) -> None:
    (conflict,) = ids(at_odds.conflicts())
    said = at_odds.house.run("conflicts", "resolve", conflict, "--take", take, "--json")
    assert (said.code, said.value[0]["sentence"]) == (0, sentence)
    assert at_odds.conflicts()[0]["answered"]
    assert (at_odds.names("left")["2"], at_odds.names("right")["2"]) == ("Bert", "Bill")
    assert at_odds.sync()["status"] == "success"
    assert at_odds.names("left")["2"] == at_odds.names("right")["2"] == becomes
    assert at_odds.conflicts() == []
    assert at_odds.sync()["unchanged"] == 3
    said = at_odds.house.run("conflicts", "resolve", conflict, "--take", "left", "--json")
    assert (said.code, said.value["error"]) == (1, "wrong_state")


@on_both_kinds
def test_typed_value_is_of_the_field_s_own_type_and_exact(linked: Ends) -> None:
    linked.fill("left", ("1", "Ann", "1.5"), ("2", "Bob", "2"), ("3", "Cid", "3"))
    linked.fill("right", ("1", "Ann", "1.7"), ("2", "Bob", "2"), ("3", "Cid", "3"))
    linked.sync()
    (conflict,) = ids(linked.conflicts())
    said = linked.house.run("conflicts", "resolve", conflict, "--take", "a lot", "--json")
    assert (said.code, said.value["error"]) == (2, "value")
    assert not linked.conflicts()[0]["answered"]
    # More digits than a float holds; what a SQLite column cannot keep is another story.
    value = "9007199254740993.25" if linked.kind == "csv" else "1234567890.25"
    assert linked.house.run("conflicts", "resolve", conflict, "--take", value).code == 0
    assert linked.sync()["status"] == "success"
    assert f"1,Ann,{value}\n".encode() in linked.house.bytes_of("right/q.csv")["right/q.csv"]
    assert linked.sync()["unchanged"] == 3


@on_both_kinds
@pytest.mark.parametrize("moved", ["left", "right"])
def test_answer_that_a_side_has_outrun_is_asked_for_again(at_odds: Ends, moved: str) -> None:
    (conflict,) = ids(at_odds.conflicts())
    at_odds.house.run("conflicts", "resolve", conflict, "--take", "left")
    rows = {"left": "Bert", "right": "Bill"} | {moved: "Bruno"}
    at_odds.fill(moved, ("1", "Anna", "1"), ("2", rows[moved], "2"), ("3", "Cid", "3"))
    summary = at_odds.sync()
    assert (summary["status"], summary["conflicts"]) == ("partial", 1)
    assert (at_odds.names("left")["2"], at_odds.names("right")["2"]) == (rows["left"], rows["right"])
    (shown,) = at_odds.conflicts()
    assert (str(shown["id"]), shown[moved], shown["answered"]) == (conflict, "Bruno", False)


def test_conflict_closes_by_itself_when_both_sides_agree(at_odds: Ends) -> None:
    at_odds.fill("right", ("1", "Anna", "1"), ("2", "Bert", "2"), ("3", "Cid", "3"))
    assert at_odds.sync()["status"] == "success"
    assert at_odds.conflicts() == []


def test_several_are_answered_together_or_none(linked: Ends) -> None:
    linked.fill("left", ("1", "A", "1"), ("2", "B", "2"), ("3", "C", "3"))
    linked.fill("right", ("1", "X", "1"), ("2", "Y", "2"), ("3", "Z", "3"))
    assert linked.sync()["conflicts"] == 3
    found = ids(linked.conflicts())
    said = linked.house.run("conflicts", "resolve", *found, "4711", "--take", "left", "--json")
    assert (said.code, said.value["error"]) == (2, "not_found")
    assert not any(item["answered"] for item in linked.conflicts())
    assert len(linked.house.json("conflicts", "resolve", *found, "--take", "right")) == 3
    linked.sync()
    assert linked.names("left") == linked.names("right") == {"1": "X", "2": "Y", "3": "Z"}


@on_both_kinds
@pytest.mark.parametrize(("take", "left", "right"), [("left", False, False), ("right", True, True)])
def test_edit_against_delete_is_settled_by_a_side(ends: Ends, take: str, left: bool, right: bool) -> None:
    ends.fill("left", ("1", "Ann", "1"), ("2", "Bob", "2"), ("3", "Cid", "3"))
    ends.start("deletes: propagate", "edit_vs_delete: manual")
    ends.sync()
    ends.fill("left", ("1", "Ann", "1"), ("3", "Cid", "3"))
    ends.fill("right", ("1", "Ann", "1"), ("2", "Bert", "2"), ("3", "Cid", "3"))
    assert ends.sync()["conflicts"] == 1
    (conflict,) = ends.conflicts()
    assert (conflict["kind"], conflict["field"], conflict["left"]) == ("delete", "", None)
    said = ends.house.run("conflicts", "resolve", str(conflict["id"]), "--take", "Berta", "--json")
    assert (said.code, said.value["error"]) == (2, "take")
    ends.house.run("conflicts", "resolve", str(conflict["id"]), "--take", take)
    assert ends.sync()["status"] == "success"
    assert ("2" in ends.names("left"), "2" in ends.names("right")) == (left, right)
    assert ends.conflicts() == []


# -- a decision and who carries it out -------------------------------------------------------------


def test_decision_is_left_to_a_worker_where_one_is_up(held: Ends) -> None:
    held.house.run("held", "approve", ids(held.held())[0])
    assert {run["state"] for run in held.house.json("runs")} == {"partial"}
    held.house.store(
        "INSERT INTO processes (id, kind, started_at, beat_at) VALUES ('here:1:a', 'worker',"
        " strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now'))"
    )
    held.house.run("held", "approve", "--all")
    newest = held.house.json("runs")[0]
    assert (newest["state"], newest["kind"]) == ("queued", "manual")


# -- undo ------------------------------------------------------------------------------------------


def undo(ends: Ends, run: str) -> Said:
    return ends.house.run("undo", run, "--json")


@on_both_kinds
def test_undo_puts_back_what_a_run_wrote_and_the_next_run_lets_it_be(linked: Ends) -> None:
    linked.fill("left", ("1", "Anna", "1"), ("2", "Bob", "2"), ("4", "Dan", "4"))
    before = linked.names("right")
    done = linked.sync()
    assert (done["right"]["created"], done["right"]["updated"], done["right"]["deleted"]) == (1, 1, 1)
    said = undo(linked, done["run"])
    assert (said.code, said.value["status"]) == (0, "success")
    assert linked.names("right") == before
    again = linked.sync()
    assert [
        again[side][verb] for side in ("left", "right") for verb in ("created", "updated", "deleted")
    ] == [0] * 6
    assert linked.names("right") == before


@on_both_kinds
def test_undo_can_be_undone(linked: Ends) -> None:
    linked.fill("left", ("1", "Anna", "1"), ("2", "Bob", "2"), ("3", "Cid", "3"))
    done = linked.sync()
    undone = undo(linked, done["run"]).value
    assert linked.names("right")["1"] == "Ann"
    assert undo(linked, undone["run"]).code == 0
    assert linked.names("right")["1"] == "Anna"
    assert linked.sync()["unchanged"] == 3


def test_undo_leaves_alone_what_was_changed_since_and_says_so(linked: Ends) -> None:
    linked.fill("left", ("1", "Anna", "1"), ("2", "Bert", "2"), ("3", "Cid", "3"))
    done = linked.sync()
    linked.fill("right", ("1", "Annika", "1"), ("2", "Bert", "2"), ("3", "Cid", "3"))
    said = undo(linked, done["run"])
    assert linked.names("right") == {"1": "Annika", "2": "Bob", "3": "Cid"}
    assert said.value["right"]["updated"] == 1
    assert said.value["excluded"] + said.value["failed"] == 1


def test_undo_of_a_run_that_is_not_there_is_refused(linked: Ends) -> None:
    said = undo(linked, "no-such-run")
    assert (said.code, said.value["error"]) == (2, "not_found")


# -- why a record is as it is ----------------------------------------------------------------------


@on_both_kinds
def test_explain_says_what_will_happen_under_each_policy(at_odds: Ends) -> None:
    found = at_odds.house.json("explain", "people", "2")
    assert (found["config"], found["key"], found["state"]) == ("people", "2", "linked")
    assert found["sentence"] == "Both sides changed name: a person must decide."
    assert (found["left"]["fields"]["name"], found["right"]["fields"]["name"]) == ("Bert", "Bill")
    assert (found["left_shadow"]["name"], found["right_shadow"]["name"]) == ("Bob", "Bob")
    assert found["under"]["left_wins"] == ["update on right: name = Bert"]
    assert found["under"]["right_wins"] == ["update on left: name = Bill"]
    assert found["under"]["manual"] == ["conflict on name waits for a person"]


def test_explain_tells_the_history_of_a_record(at_odds: Ends) -> None:
    found = at_odds.house.json("explain", "people", "1")
    assert found["sentence"] == "Both sides agree: the next run does nothing."
    newest, first = found["history"]
    assert (newest["operation"], newest["side"], newest["state"]) == ("update", "right", "applied")
    assert (newest["before"], newest["after"]) == ({"name": "Ann"}, {"name": "Anna"})
    assert (first["operation"], first["state"]) == ("create", "applied")


def test_explain_sees_what_no_run_has_seen_yet_and_changes_nothing(linked: Ends) -> None:
    linked.fill("left", ("1", "Anna", "1"), ("2", "Bob", "2"), ("3", "Cid", "3"), ("4", "Dan", "4"))
    stored = linked.house.dump()
    assert linked.house.json("explain", "people", "1")["next"][0]["after"] == {"name": "Anna"}
    fresh = linked.house.json("explain", "people", "4")
    assert (fresh["state"], fresh["next"][0]["operation"]) == ("not linked yet", "create")
    assert linked.house.dump() == stored
    assert "4" not in linked.names("right")


def test_explain_of_a_record_that_is_nowhere_is_refused(linked: Ends) -> None:
    said = linked.house.run("explain", "people", "99", "--json")
    assert (said.code, said.value["error"]) == (2, "not_found")
    assert linked.house.run("explain", "peple", "1").code == 2


def test_held_record_is_explained_as_held(held: Ends) -> None:
    found = held.house.json("explain", "people", "1")
    assert found["sentence"] == "A change is planned, and a guard holds it until a person has looked."
    assert found["next"][0]["held"] == "first_run"


def explained(ends: Ends, key: str) -> dict[str, Any]:
    found: dict[str, Any] = ends.house.json("explain", "people", key)
    assert ends.house.run("explain", "people", key).out.splitlines()[1] == found["sentence"]
    return found


def test_record_that_the_filter_leaves_out_is_explained(ends: Ends) -> None:
    ends.fill("left", ("1", "Ann", "1"), ("2", "Bob", "2"))
    ends.start()
    text = (ends.house.folder / "syncline.yaml").read_text()
    filtered = text.replace(
        "stream: p.csv, key: id", "stream: p.csv, key: id, filter: {field: name, equals: Ann}"
    )
    assert ends.house.apply(filtered).code == 0
    assert ends.sync()["right"]["created"] == 1
    assert explained(ends, "2")["sentence"] == "It takes no part: the filter of left leaves it out."


def test_record_that_was_deleted_where_deletes_do_not_flow_is_explained(ends: Ends) -> None:
    ends.fill("left", ("1", "Ann", "1"), ("2", "Bob", "2"), ("3", "Cid", "3"))
    ends.start("deletes: never")
    ends.sync()
    ends.fill("left", ("1", "Ann", "1"), ("3", "Cid", "3"))
    assert ends.sync()["status"] == "success"
    found = explained(ends, "2")
    assert found["sentence"] == "It takes no part: deleted on left."
    assert (found["left"]["state"], found["right"]["state"]) == ("not there", "there")


def test_foreign_record_of_a_one_way_sync_is_explained(ends: Ends) -> None:
    ends.fill("left", ("1", "Ann", "1"))
    ends.fill("right", ("9", "Zoe", "9"))
    ends.start("direction: left_to_right", "first_run: apply")
    ends.sync()
    said = explained(ends, "9")["sentence"]
    assert said == "It takes no part: it stands only on right, from which nothing is copied."


def test_records_that_cannot_be_told_apart_are_explained(ends: Ends) -> None:
    ends.start("first_run: apply")
    text = (ends.house.folder / "syncline.yaml").read_text()
    assert ends.house.apply(text.replace("match: [id]", "match: [name]")).code == 0
    ends.fill("left", ("1", "Ann", "1"), ("2", "Ann", "2"), ("3", "", "3"))
    summary = ends.sync()
    assert (summary["failed"], summary["right"]["created"]) == (2, 0)
    assert explained(ends, "1")["sentence"].startswith(
        "It is set aside: 2 records on left have the same name"
    )
    assert explained(ends, "3")["sentence"] == "It takes no part: its match field is empty on left."


def test_side_that_cannot_be_read_is_said(linked: Ends) -> None:
    (linked.house.folder / "right" / "q.csv").unlink()
    said = linked.house.run("explain", "people", "1", "--json")
    assert (said.code, said.value["error"]) == (1, "stream_gone")

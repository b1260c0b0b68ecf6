"""The truth table: what happened to a record since both sides agreed, and what the next run does.

One row is one case under all four conflict policies. The tests play the rows by the real path;
`docs/decision-table.md` is made from them.

What happened is told in acts, in the order of time:

    x=a y=a         (given) both sides hold this record and agree on it
    L.x=b           somebody writes b into field x on the left
    L+ x=b          a new record on the left, under the same key
    L-              somebody deletes it on the left
    L back          the deleted record is there again, under its old id
    |               a run
"""

# ruff: noqa: E501  a row stands on one line
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Policy = Literal["left_wins", "right_wins", "newest_wins", "manual"]
POLICIES: tuple[Policy, ...] = ("left_wins", "right_wins", "newest_wins", "manual")


@dataclass(frozen=True)
class Row:
    id: str
    title: str
    given: str | None  # the record that both sides agree on; None: there is none
    acts: str
    expect: str | tuple[str, str, str, str]  # the same for all, or one for each of POLICIES
    also: str = ""  # what else of the policy matters, in words
    policy: Mapping[str, Any] = field(default_factory=dict)  # the same as it stands in the YAML
    link: str = ""  # the state of the link afterwards
    opened_by_hand: bool = False  # the runs before the last one had `conflict: manual`
    switched: bool = False  # the runs before the last one had the opposite policy
    forbidden: bool = False  # the right side no longer lets us see the record
    protected: bool = False  # the right side no longer lets us write the record

    def expected(self, policy: Policy) -> str:
        return self.expect if isinstance(self.expect, str) else self.expect[POLICIES.index(policy)]

    @property
    def name(self) -> str:
        return f"{self.id} ({self.also})" if self.also else self.id


PROPAGATE = {"deletes": "propagate"}
ARCHIVE = {
    "deletes": {
        "left_to_right": "archive",
        "right_to_left": "archive",
        "archive": {"field": "z", "value": "archived"},
    }
}


def _deletes(word: str) -> dict[str, Any]:
    return {"deletes": word}


def _knob(word: str) -> dict[str, Any]:
    return {"deletes": "propagate", "edit_vs_delete": word}


ROWS: tuple[Row, ...] = (
    Row("T01", "Nothing happened", "x=a", "", "nothing"),
    Row("T02", "Edited on the left only", "x=a", "L.x=b", "R.x=b"),
    Row("T03", "Edited on the right only, which flows even if the left wins", "x=a", "R.x=b", "L.x=b"),
    Row("T04", "The same edit on both sides: no conflict", "x=a", "L.x=b R.x=b", "nothing"),
    Row(
        "T05", "Edited differently, the right one later", "x=a", "L.x=b R.x=c",
        ("R.x=b", "L.x=c", "L.x=c", "conflict(x)"),
    ),
    Row(
        "T06", "Edited differently, the left one later", "x=a", "R.x=c L.x=b",
        ("R.x=b", "L.x=c", "R.x=b", "conflict(x)"),
    ),
    Row("T07", "Different fields edited: both edits are kept", "x=1 y=1", "L.x=2 R.y=2", "R.x=2 L.y=2"),
    Row(
        "T08", "Different fields edited, the right one later", "x=1 y=1", "L.x=2 R.y=2",
        ("R.x=2 R.y=1", "L.x=1 L.y=2", "L.x=1 L.y=2", "conflict(x) conflict(y)"),
        also="granularity: record", policy={"granularity": "record"},
    ),
    Row(
        "T09", "One field edited on both sides, others on one: those flow around the conflict",
        "x=1 y=1 z=1", "L.x=2 L.y=2 R.x=3 R.z=3",
        ("R.x=2 R.y=2 L.z=3", "L.x=3 R.y=2 L.z=3", "L.x=3 R.y=2 L.z=3", "conflict(x) R.y=2 L.z=3"),
    ),
    Row("T10", "Edited on the left and put back", "x=a", "L.x=b L.x=a", "nothing"),
    Row("T11", "Edited and put back on the left, edited on the right", "x=a", "R.x=c L.x=b L.x=a", "L.x=c"),
    Row("T12", "Deleted on the left", "x=a", "L-", "nothing", also="deletes: never", link="excluded"),
    Row("T12", "Deleted on the left", "x=a", "L-", "R-", also="deletes: propagate", policy=PROPAGATE, link="tombstone"),
    Row("T12", "Deleted on the left", "x=a", "L-", "R.z=archived", also="deletes: archive", policy=ARCHIVE, link="excluded"),
    Row("T12", "Deleted on the left", "x=a", "L-", "nothing", also="deletes: unlink", policy=_deletes("unlink"), link="unlinked"),
    Row("T12", "Deleted on the left", "x=a", "L-", "held(R-)", also="deletes: approve", policy=_deletes("approve"), link="linked"),
    Row("T13", "Deleted on the right", "x=a", "R-", "nothing", also="deletes: never", link="excluded"),
    Row("T13", "Deleted on the right, even if the left wins", "x=a", "R-", "L-", also="deletes: propagate", policy=PROPAGATE, link="tombstone"),
    Row("T13", "Deleted on the right", "x=a", "R-", "L.z=archived", also="deletes: archive", policy=ARCHIVE, link="excluded"),
    Row("T13", "Deleted on the right", "x=a", "R-", "nothing", also="deletes: unlink", policy=_deletes("unlink"), link="unlinked"),
    Row("T13", "Deleted on the right", "x=a", "R-", "held(L-)", also="deletes: approve", policy=_deletes("approve"), link="linked"),
    Row("T14", "Deleted on the left, edited on the right", "x=a", "L- R.x=b", "nothing", also="deletes: never", link="excluded"),
    Row("T14", "Deleted on the left, edited on the right", "x=a", "L- R.x=b", "L+", also="edit_wins", policy=_knob("edit_wins"), link="linked"),
    Row("T14", "Deleted on the left, edited on the right", "x=a", "L- R.x=b", "R-", also="delete_wins", policy=_knob("delete_wins"), link="tombstone"),
    Row(
        "T14", "Deleted on the left, edited on the right", "x=a", "L- R.x=b",
        ("R-", "L+", "L+", "conflict()"), also="follow", policy=_knob("follow"),
    ),
    Row("T14", "Deleted on the left, edited on the right", "x=a", "L- R.x=b", "conflict()", also="manual", policy=_knob("manual"), link="linked"),
    Row("T15", "Edited on the left, deleted on the right", "x=a", "L.x=b R-", "nothing", also="deletes: never", link="excluded"),
    Row("T15", "Edited on the left, deleted on the right", "x=a", "L.x=b R-", "R+", also="edit_wins", policy=_knob("edit_wins"), link="linked"),
    Row("T15", "Edited on the left, deleted on the right", "x=a", "L.x=b R-", "L-", also="delete_wins", policy=_knob("delete_wins"), link="tombstone"),
    Row(
        "T15", "Edited on the left, deleted on the right", "x=a", "L.x=b R-",
        ("R+", "L-", "R+", "conflict()"), also="follow", policy=_knob("follow"),
    ),
    Row("T15", "Edited on the left, deleted on the right", "x=a", "L.x=b R-", "conflict()", also="manual", policy=_knob("manual"), link="linked"),
    Row("T16", "Deleted on both sides", "x=a", "L- R-", "nothing", also="deletes: propagate", policy=PROPAGATE, link="tombstone"),
    Row("T16", "Deleted on both sides", "x=a", "L- R-", "nothing", link="tombstone"),
    Row("T17", "New on the left", None, "L+ x=a", "R+", link="linked"),
    Row("T18", "New on the right", None, "R+ x=a", "L+", link="linked"),
    Row(
        "T18", "New on the right, to which this sync only writes: it is foreign", None, "R+ x=a", "nothing",
        also="left to right", policy={"direction": "left_to_right"},
    ),
    Row("T19", "New on both sides, equal", None, "L+ x=a R+ x=a", "nothing", link="linked"),
    Row(
        "T20", "New on both sides, different, the right one later", None, "L+ x=1 R+ x=2",
        ("R.x=1", "L.x=2", "L.x=2", "conflict(x)"), link="linked",
    ),
    Row("T21", "New on both sides, empty on the right: a value beats an empty one", None, "L+ x=1 R+", "R.x=1", link="linked"),
    Row(
        "T21", "New on both sides, empty on the right, the right one later", None, "L+ x=1 R+",
        ("R.x=1", "L.x=null", "L.x=null", "conflict(x)"), also="fill_empty: false",
        policy={"fill_empty": False}, link="linked",
    ),
    Row("T22", "Deleted on the left and made anew under the same key", "x=a", "L- L+ x=a", "nothing", also="deletes: propagate", policy=PROPAGATE, link="linked"),
    Row("T22", "Deleted on the left and made anew with another value", "x=a", "L- L+ x=b", "R.x=b", also="deletes: propagate", policy=PROPAGATE, link="linked"),
    Row("T23", "Deleted on both sides, then restored on the left", "x=a", "L- R- | L back", "R+", also="deletes: propagate", policy=PROPAGATE, link="linked"),
    Row("T24", "Edited on the left, no longer readable on the right", "x=a", "L.x=b", "issue(lost_access)", forbidden=True, link="linked"),
    Row("T25", "Edited on the left, write-protected on the right", "x=a", "L.x=b", "issue(forbidden)", protected=True, link="linked"),
    Row(
        "T26", "In conflict, then edited again on the left", "x=a", "L.x=b R.x=c | L.x=b2",
        ("R.x=b2", "L.x=c", "R.x=b2", "conflict(x)"), opened_by_hand=True,
    ),
    Row("T27", "In conflict, then somebody made both sides equal", "x=a", "L.x=b R.x=c | L.x=c", "nothing", opened_by_hand=True),
    Row(
        "T28", "In conflict on x, then y edited on the left: y flows", "x=a y=a", "L.x=b R.x=c | L.y=b",
        ("R.x=b R.y=b", "L.x=c R.y=b", "R.x=b R.y=b", "R.y=b conflict(x)"), opened_by_hand=True,
    ),
    Row("T29", "In conflict, then deleted on the left", "x=a", "L.x=b R.x=c | L-", "L+", opened_by_hand=True, also="edit_wins", policy=_knob("edit_wins")),
    Row("T29", "In conflict, then deleted on the left", "x=a", "L.x=b R.x=c | L-", "R-", opened_by_hand=True, also="delete_wins", policy=_knob("delete_wins")),
    Row("T30", "Nothing happened but that the policy was turned around", "x=a", "", "nothing", switched=True),
)  # fmt: skip

"""docs/decision-table.md, made from the rows that the tests play.

Write it with: python -m tests.scenarios.table
"""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.truth import POLICIES, ROWS, Row

PAGE = Path(__file__).parents[2] / "docs" / "decision-table.md"

_HEAD = """\
# The decision table

What a run does with one record, by what happened to it since both sides agreed. Each row is a test: it
is played by a real run, in both orientations, under each of the four conflict policies. This page is made
from the same rows (`python -m tests.scenarios.table`).

How to read it:

| sign | means |
|---|---|
| `x=a` under "Agreed" | both sides hold a record with this value, as the last run saw it; "none": no record |
| `L.x=b` | under "Since then": somebody wrote b into x on the left. Under a policy: the run writes it there |
| `L+`, `L-`, `L back` | the record is made, deleted, restored on the left |
| `R.x=b` ... | the same on the right |
| `\\|` | a run in between |
| `conflict(x)` | x waits for a person, all else flows; `conflict()`: an edit against a delete |
| `held(R-)` | the write in brackets waits until a person approves it |
| `issue(code)` | the record is set aside with this reason, all others flow |
| nothing | no write, and nobody is bothered |

"Newest wins" goes by the time at which each side's record was modified; where a side has no trusted time,
or both are equal, it falls back to `tie`. Deletions, and edits against deletions, are settled by `deletes`
and `edit_vs_delete`, whatever the conflict policy is.

| Id | What happened | With | Agreed | Since then | Left wins | Right wins | Newest wins | Manual |
|---|---|---|---|---|---|---|---|---|
"""


def page() -> str:
    return _HEAD + "".join(_line(row) for row in ROWS)


def _line(row: Row) -> str:
    given = f"`{row.given}`" if row.given is not None else "none"
    acts = row.acts.replace("|", "\\|")
    cells = [
        row.id,
        row.title,
        _with(row),
        given,
        f"`{acts}`" if acts else "nothing",
        *(_expected(row.expected(policy)) for policy in POLICIES),
    ]
    return f"| {' | '.join(cells)} |\n"


def _with(row: Row) -> str:
    if row.opened_by_hand:
        return "; ".join(part for part in (row.also, "manual until now") if part)
    return row.also


def _expected(text: str) -> str:
    return text if text == "nothing" else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""T01 to T30 under every conflict policy, in both orientations, by the real path."""

from __future__ import annotations

import pytest

from tests.scenarios.play import play
from tests.scenarios.table import PAGE, page
from tests.scenarios.truth import POLICIES, ROWS, Policy, Row
from tests.scenarios.words import ordered
from tests.scenarios.world import Making

CASES = [
    pytest.param(row, policy, id=f"{row.name}-{policy}".replace(" ", "_"))
    for row in ROWS
    for policy in POLICIES
]


@pytest.mark.parametrize(("row", "policy"), CASES)
def test_row(row: Row, policy: Policy, swapped: bool, system: Making) -> None:
    played = play(row, policy, swapped=swapped, system=system)
    assert played.did == ordered(row.expected(policy))
    if row.link:
        assert played.link == row.link


def test_the_page_is_made_from_these_rows() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.scenarios.table"

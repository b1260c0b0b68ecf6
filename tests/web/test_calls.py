"""The calls of a run: what was asked and answered, who sees what of it, and the way there from an error."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from models.sync_runs import RunState
from tests.web.browser import Browser
from tests.web.caller import Caller
from tests.web.world import World, summary


@pytest.fixture
def run(world: World) -> str:
    errors = [{"key": "mary@example.com", "side": "right", "operation": "update", "code": "rejected",
               "message": "Whole numbers only."}]  # fmt: skip
    return world.run(world.config(), RunState.PARTIAL, summary=summary(failed=1, errors=errors))


def fine(world: World, run: str, number: int) -> int:
    return world.call(
        run, number=number, status=200, failed=False, method="GET", target=f"/v1/list?n={number}"
    )


def test_the_page_shows_each_call_and_what_was_left_out(alice: Browser, world: World, run: str) -> None:
    fine(world, run, 1)
    world.call(run, number=9, attempt=2)
    words = alice.words(f"/runs/{run}/calls")
    assert "/v1/list?n=1" in words and "7 calls that went well are not kept" in words
    assert "attempt 2" in words and "takes whole numbers" in words and "req-7f3a" in words


def test_only_the_failed_ones(alice: Browser, world: World, run: str) -> None:
    fine(world, run, 1)
    world.call(run, number=2)
    words = alice.words(f"/runs/{run}/calls?failed=yes")
    assert "422" in words and "/v1/list" not in words
    assert "No call matches" in alice.words(f"/runs/{run}/calls?side=left")
    assert alice.get(f"/runs/{run}/calls?side=up").status_code == 400


def test_an_error_leads_to_the_call_that_caused_it(alice: Browser, world: World, run: str) -> None:
    change = world.change(run, state="rejected", message="Whole numbers only.")
    fine(world, run, 1)
    call = world.call(run, number=2, changes=[change])
    link = f'href="/runs/{run}/calls?call={call}#call-{call}"'
    page = alice.text(f"/runs/{run}")
    assert page.count(link) == 2, "with its cause and with its record"
    assert f'id="call-{call}" open' in alice.text(f"/runs/{run}/calls?call={call}")


def test_a_run_that_failed_leads_to_its_last_failed_call(alice: Browser, world: World) -> None:
    run = world.run(world.config(), RunState.FAILED, error="It does not answer.", error_code="unavailable")
    call = world.call(run, status=None, problem="The answer was lost.")
    assert f"/runs/{run}/calls?call={call}#call-{call}" in alice.text(f"/runs/{run}")
    assert "no answer" in alice.words(f"/runs/{run}/calls")


def test_a_call_can_be_copied_as_curl_without_its_secrets(alice: Browser, world: World, run: str) -> None:
    world.call(run, sent='{"name": "O\'Neil"}')
    page = alice.text(f"/runs/{run}/calls")
    assert "curl --request POST 'https://api.example.com/v1/records?page=2'" in page
    assert "authorization: <SECRET>" in page
    assert """'{"name": "O'"'"'Neil"}'""" in page


def test_who_may_not_see_personal_data_sees_that_calls_were_made(
    vera: Browser, world: World, run: str
) -> None:
    world.call(run, target="/v1/find?email=mary@example.com")
    page = vera.text(f"/runs/{run}/calls")
    assert "/v1/find?…" in page and "422" in page
    for hidden in ("mary@example.com", "takes whole numbers", "curl"):
        assert hidden not in page
    assert vera.post(f"/runs/{run}/calls/exports", form="json").status_code == 403


def test_the_calls_as_a_file(bob: Browser, world: World, run: str) -> None:
    fine(world, run, 1)
    world.call(run, number=2)
    (row,) = json.loads(bob.post(f"/runs/{run}/calls/exports", form="json", failed="yes").text)
    assert (row["url"], row["status"]) == ("https://api.example.com/v1/records?page=2", 422)
    assert "•••" in row["sent_headers"]


def test_the_api_gives_them_newest_first(world: World, run: str, caller: Callable[..., Caller]) -> None:
    first = fine(world, run, 1)
    second = world.call(run, number=2, changes=[5])
    found = caller("bob").json(f"/runs/{run}/calls")["items"]
    assert [item["id"] for item in found] == [second, first]
    assert found[0]["body"].startswith('{"error"') and found[0]["changes"] == [5]
    assert [item["id"] for item in caller("bob").json(f"/runs/{run}/calls?failed=true")["items"]] == [second]


def test_a_run_of_files_says_why_there_is_none(alice: Browser, run: str) -> None:
    assert "No call was kept" in alice.words(f"/runs/{run}/calls")

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


def reveals(who: Browser, run: str) -> None:
    assert who.post(f"/runs/{run}/calls/reveals").status_code == 303


def test_the_page_shows_each_call_and_what_was_left_out(alice: Browser, world: World, run: str) -> None:
    fine(world, run, 1)
    world.call(run, number=9, attempt=2)
    reveals(alice, run)
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
    reveals(alice, run)
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
    assert "body" not in found[0] and found[0]["changes"] == [5]
    assert found[0]["target"] == "/v1/records?…"
    assert [item["id"] for item in caller("bob").json(f"/runs/{run}/calls?failed=true")["items"]] == [second]


def test_what_calls_carried_shows_when_it_is_asked_for_and_the_audit_says_who_looked(
    alice: Browser, bob: Browser, world: World, run: str
) -> None:
    call = world.call(run, target="/v1/find?email=mary@example.com")
    path = f"/runs/{run}/calls"
    masked = bob.text(f"{path}?call={call}")
    for hidden in ("mary@example.com", "takes whole numbers", "curl"):
        assert hidden not in masked
    assert "noted in the audit" in masked
    answer = bob.post(f"{path}/reveals", call=str(call), failed="yes")
    assert answer.location == f"{path}?failed=yes&call={call}#call-{call}"
    shown = bob.text(path)
    assert "mary@example.com" in shown and "takes whole numbers" in shown
    assert "bob@example.com Run calls revealed calls 1" in alice.words("/audit?action=run.calls_revealed")
    assert "mary@example.com" not in alice.text(path), "each for themselves"
    other = world.run(world.config("other"))
    world.call(other, target="/v1/find?email=ann@example.com")
    assert "ann@example.com" not in bob.text(f"/runs/{other}/calls"), "this run, not every one"
    world.clock.passes(minutes=31)
    assert "mary@example.com" not in bob.text(path)


def test_a_viewer_never_sees_what_calls_carried(vera: Browser, world: World, run: str) -> None:
    world.call(run)
    assert "Show what they carried" not in vera.text(f"/runs/{run}/calls")
    assert vera.post(f"/runs/{run}/calls/reveals").status_code == 403


def test_the_api_reveals_chosen_calls_and_the_audit_says_so(
    alice: Browser, world: World, run: str, caller: Callable[..., Caller]
) -> None:
    call, elsewhere = world.call(run), world.call(world.run(world.config("other")))
    answer = caller("bob").call("POST", f"/api/v1/runs/{run}/calls/reveals", {"ids": [call, elsewhere]})
    (item,) = answer.json["items"]  # type: ignore[index]
    assert item["id"] == call and item["body"].startswith('{"error"')
    assert item["target"] == "/v1/records?page=2"
    assert "Run calls revealed" in alice.words("/audit?action=run.calls_revealed")


def test_a_run_of_files_says_why_there_is_none(alice: Browser, run: str) -> None:
    assert "No call was kept" in alice.words(f"/runs/{run}/calls")

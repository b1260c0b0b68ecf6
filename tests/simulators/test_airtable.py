"""The Airtable simulator is honest: the vendor's community client works against it, and its limits bite."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import requests
from pyairtable import Api
from pyairtable.models import WebhookNotification
from pyairtable.models.webhook import WebhookSpecification

from simulators.airtable import Airtable
from simulators.airtable_cells import Base
from simulators.base import serving

START = datetime(2026, 3, 5, 12, 0, 0, 250_000, tzinfo=UTC)
SECRET = "patTest.1234"
FIELDS: list[dict[str, Any]] = [
    {"name": "Name", "type": "singleLineText"},
    {"name": "N", "type": "number", "options": {"precision": 2}},
    {"name": "Stage", "type": "singleSelect", "options": {"choices": [{"name": "Lead"}, {"name": "Won"}]}},
    {"name": "Tags", "type": "multipleSelects", "options": {"choices": [{"name": "a"}, {"name": "b"}]}},
    {"name": "Done", "type": "checkbox"},
    {"name": "Day", "type": "date"},
    {"name": "At", "type": "dateTime", "options": {"timeZone": "Europe/Paris"}},
    {"name": "Rich", "type": "richText"},
    {"name": "Files", "type": "multipleAttachments"},
    {"name": "No", "type": "autoNumber"},
    {"name": "Made", "type": "createdTime"},
    {"name": "Changed", "type": "lastModifiedTime"},
    {"name": "Shout", "type": "formula", "options": {"formula": 'UPPER({Name}) & "!"'}},
]


@pytest.fixture
def airtable() -> Airtable:
    airtable = Airtable(now=lambda: START, rand=random.Random(5).random)
    airtable.add_token(SECRET)
    airtable.has_limits = False
    return airtable


@pytest.fixture
def base(airtable: Airtable) -> Base:
    base = airtable.add_base("Sales")
    companies = airtable.add_table(base, "Companies", [{"name": "Title", "type": "singleLineText"}])
    link = {"name": "Company", "type": "multipleRecordLinks", "options": {"linkedTableId": companies.id}}
    people = airtable.add_table(base, "People / all", [*FIELDS, link])
    link_id = people.fields[-1].id
    airtable.add_field(
        base, people, {"name": "Links", "type": "count", "options": {"recordLinkFieldId": link_id}}
    )
    looks = {"recordLinkFieldId": link_id, "fieldIdInLinkedTable": companies.fields[0].id}
    airtable.add_field(base, people, {"name": "Titles", "type": "multipleLookupValues", "options": looks})
    return base


@pytest.fixture
def url(airtable: Airtable) -> Iterator[str]:
    with serving(airtable) as url:
        yield url


@pytest.fixture
def api(url: str) -> Iterator[Api]:
    api = Api(SECRET, endpoint_url=url, timeout=(5, 20), retry_strategy=None)
    api.session.trust_env = False
    yield api
    api.session.close()


@pytest.fixture
def client(api: Api, base: Base) -> Any:
    return api.base(base.id)


@pytest.fixture
def people(client: Any) -> Any:
    return client.table("People / all")


def refusal(work: Any) -> tuple[int, Any]:
    with pytest.raises(requests.HTTPError) as caught:
        work()
    assert caught.value.response is not None
    return caught.value.response.status_code, caught.value.response.json()["error"]


# -- the client's session ---------------------------------------------------------------------------


def test_the_client_sees_who_it_is_and_what_there_is(api: Api, base: Base, client: Any) -> None:
    assert api.whoami()["id"].startswith("usr")
    assert [item.name for item in api.bases()] == ["Sales"]
    schema = client.schema()
    assert [table.name for table in schema.tables] == ["Companies", "People / all"]
    people = schema.table("People / all")
    assert {item.name: item.type for item in people.fields}["Titles"] == "multipleLookupValues"
    link = people.field("Company")
    assert link.type == "multipleRecordLinks"
    back = schema.table("Companies").field(link.options.inverse_link_field_id or "")
    assert back.type == "multipleRecordLinks" and back.options.linked_table_id == people.id


def test_the_client_pages_sorts_and_filters(people: Any, airtable: Airtable) -> None:
    people.batch_create([{"Name": f"Person {number}", "N": number} for number in range(25)])
    assert [call.status for call in airtable.calls] == [200, 200, 200]
    assert len(people.all(page_size=3)) == 25
    assert [len(page) for page in people.iterate(page_size=10, max_records=25)] == [10, 10, 5]
    newest = people.all(sort=["-N"], fields=["N"], max_records=2)
    assert [record["fields"] for record in newest] == [{"N": 24}, {"N": 23}]
    assert len(people.all(formula="AND({N} >= 5, NOT({N} > 7))")) == 3
    long = "OR(" + ",".join(f"{{Name}}='Person {number % 40}'" for number in range(900)) + ")"
    assert len(long) > 16_000
    assert len(people.all(formula=long, page_size=10)) == 25
    assert airtable.calls[-1].path.endswith("/listRecords")
    first = people.first(formula="{Name}='Person 7'")
    assert first is not None and people.get(first["id"])["fields"]["Shout"] == "PERSON 7!"
    by_id = people.all(use_field_ids=True, max_records=1)[0]["fields"]
    assert all(key.startswith("fld") for key in by_id)


def test_the_client_creates_updates_replaces_and_deletes(people: Any) -> None:
    made = people.create({"Name": "Ada", "N": 1.5, "Done": True, "Tags": ["b", "a"], "Stage": "Won"})
    assert made["fields"] | {"No": 1} == made["fields"]
    people.update(made["id"], {"N": 0})
    assert people.get(made["id"])["fields"]["N"] == 0, "a zero is a value"
    people.update(made["id"], {"Done": False, "Tags": []})
    left = people.get(made["id"])["fields"]
    assert "Done" not in left and "Tags" not in left and left["Stage"] == "Won"
    people.update(made["id"], {"N": 7}, replace=True)
    kept = people.get(made["id"])["fields"]
    assert "Name" not in kept and kept["N"] == 7
    more = people.batch_create([{"Name": str(number)} for number in range(15)])
    changed = people.batch_update([{"id": item["id"], "fields": {"N": 1}} for item in more])
    assert [item["id"] for item in changed] == [item["id"] for item in more]
    deleted = people.batch_delete([item["id"] for item in more])
    assert [item["deleted"] for item in deleted] == [True] * 15
    assert people.delete(made["id"])["deleted"]
    assert people.all() == []


def test_the_client_upserts(people: Any) -> None:
    known = people.create({"Name": "Known", "N": 1})
    by_id = people.create({"Name": "By id"})
    answer = people.batch_upsert(
        [
            {"fields": {"Name": "New", "N": 2}},
            {"fields": {"Name": "Known", "N": 3}},
            {"id": by_id["id"], "fields": {"Name": "Renamed"}},
        ],
        key_fields=["Name"],
    )
    names = [record["fields"]["Name"] for record in answer["records"]]
    assert names == ["New", "Known", "Renamed"]
    assert answer["createdRecords"] == [answer["records"][0]["id"]]
    assert answer["updatedRecords"] == [known["id"], by_id["id"]]
    people.create({"Name": "Known"})
    before = people.all()
    status, _ = refusal(
        lambda: people.batch_upsert(
            [{"fields": {"Name": "Fresh"}}, {"fields": {"Name": "Known"}}], key_fields=["Name"]
        )
    )
    assert status == 422 and people.all() == before, "two matches: nothing of it is written"


def test_the_client_makes_tables_and_fields(client: Any, airtable: Airtable) -> None:
    made = client.create_table("Orders", [{"name": "Number", "type": "singleLineText"}])
    made.create_field("Total", "number", options={"precision": 2})
    assert [item.name for item in made.schema().fields] == ["Number", "Total"]
    status, error = refusal(lambda: made.create_field("Age", "autoNumber"))
    assert status == 422 and "not supported" in error["message"]


def test_links_show_at_both_ends_and_are_counted_and_looked_up(client: Any, people: Any) -> None:
    acme = client.table("Companies").create({"Title": "Acme"})
    ada = people.create({"Name": "Ada", "Company": [acme["id"]]})
    assert (ada["fields"]["Links"], ada["fields"]["Titles"]) == (1, ["Acme"])
    assert client.table("Companies").get(acme["id"])["fields"]["People / all"] == [ada["id"]]
    client.table("Companies").delete(acme["id"])
    assert "Company" not in people.get(ada["id"])["fields"]
    status, error = refusal(lambda: people.update(ada["id"], {"Company": [acme["id"]]}))
    assert (status, error["type"]) == (422, "ROW_DOES_NOT_EXIST")


def test_the_client_follows_a_webhook(client: Any, people: Any, airtable: Airtable) -> None:
    spec = WebhookSpecification.model_validate({"options": {"filters": {"dataTypes": ["tableData"]}}})
    made = client.add_webhook("https://example.org/hook", spec)
    ada = people.create({"Name": "Ada", "Stage": "Won"})
    for number in range(20):
        people.update(ada["id"], {"N": number})
    people.delete(ada["id"])
    hook = client.webhook(made.id)
    payloads = list(hook.payloads())
    assert len(payloads) == 22
    (created,) = payloads[0].changed_tables_by_id.values()
    cells = created.created_records_by_id[ada["id"]].cell_values_by_field_id
    assert {"name": "Won"}.items() <= next(
        value for value in cells.values() if isinstance(value, dict)
    ).items()
    (gone,) = payloads[-1].changed_tables_by_id.values()
    assert gone.destroyed_record_ids == [ada["id"]]
    assert list(hook.payloads(cursor=23)) == []
    hook.extend_expiration()
    body, headers = airtable.ping(made.id)
    secret = made.mac_secret_base64
    notice = WebhookNotification.from_request(body.decode(), headers["X-Airtable-Content-MAC"], secret)
    assert notice.webhook.id == made.id
    hook.delete()
    assert client.webhooks() == []


def test_the_client_comments(people: Any) -> None:
    ada = people.create({"Name": "Ada"})
    made = people.add_comment(ada["id"], "Hello")
    made.text = "Hello again"
    made.save()
    assert [comment.text for comment in people.comments(ada["id"])] == ["Hello again"]
    made.delete()
    assert people.comments(ada["id"]) == []


# -- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"N": "12"}, "INVALID_VALUE_FOR_COLUMN"),
        ({"N": True}, "INVALID_VALUE_FOR_COLUMN"),
        ({"Name": 12}, "INVALID_VALUE_FOR_COLUMN"),
        ({"Done": "yes"}, "INVALID_VALUE_FOR_COLUMN"),
        ({"Day": "tomorrow"}, "INVALID_VALUE_FOR_COLUMN"),
        ({"Shout": "x"}, "INVALID_VALUE_FOR_COLUMN"),
        ({"Stage": "won"}, "INVALID_MULTIPLE_CHOICE_OPTIONS"),
        ({"Stage": ""}, "INVALID_MULTIPLE_CHOICE_OPTIONS"),
        ({"Tags": ["a", "c"]}, "INVALID_MULTIPLE_CHOICE_OPTIONS"),
        ({"Company": ["Acme"]}, "INVALID_VALUE_FOR_COLUMN"),
        ({"Company": ["recDoesNotExist00"]}, "ROW_DOES_NOT_EXIST"),
        ({"Nmae": "x"}, "UNKNOWN_FIELD_NAME"),
        ({"Files": [{"id": "attForeign0000000"}]}, "INVALID_VALUE_FOR_COLUMN"),
    ],
)
def test_a_value_that_does_not_fit_refuses_the_whole_batch(
    people: Any, fields: dict[str, Any], kind: str
) -> None:
    status, error = refusal(lambda: people.batch_create([{"Name": "Good"}, fields]))
    assert (status, error["type"]) == (422, kind)
    assert people.all() == []


def test_values_take_airtables_own_form(people: Any) -> None:
    made = people.create(
        {
            "Day": "2026-03-05T23:30:00Z",
            "At": "2026-03-05T14:00:00",
            "Rich": "**bold**",
            "Files": [{"url": "https://example.org/a.pdf"}],
        }
    )["fields"]
    assert made["Day"] == "2026-03-05"
    assert made["At"] == "2026-03-05T13:00:00.000Z", "no offset: the field's own zone"
    assert made["Rich"] == "**bold**\n"
    assert made["Changed"] == "2026-03-05T12:00:00.000Z", "whole seconds"
    again = people.all()[0]["fields"]["Files"][0]
    assert again["url"] != made["Files"][0]["url"] and again["id"] == made["Files"][0]["id"]
    people.update(people.all()[0]["id"], {"Rich": None})
    assert people.all()[0]["fields"]["Rich"] == "\n"


def test_typecast_converts_and_adds_choices(people: Any) -> None:
    made = people.create({"N": "1.5", "Stage": "Lost", "Name": 7}, typecast=True)["fields"]
    assert (made["N"], made["Stage"], made["Name"]) == (1.5, "Lost", "7")
    assert people.create({"Stage": "Lost"})["fields"]["Stage"] == "Lost"


def test_more_than_ten_records_are_refused(url: str, base: Base, people: Any) -> None:
    headers = {"authorization": f"Bearer {SECRET}"}
    body: dict[str, Any] = {"records": [{"fields": {}}] * 11}
    answer = httpx.post(f"{url}/v0/{base.id}/Companies/", json=body, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "INVALID_RECORDS")
    status, error = refusal(lambda: people.get("recNobody00000000"))
    assert (status, error) == (404, "NOT_FOUND")
    status, error = refusal(lambda: people.delete("recNobody00000000"))
    assert (status, error["type"]) == (404, "MODEL_ID_NOT_FOUND")
    status, error = refusal(lambda: people.batch_update([{"id": "recNobody00000000", "fields": {}}]))
    assert (status, error["type"]) == (422, "ROW_DOES_NOT_EXIST")


def test_a_record_is_found_in_another_table_of_its_base(client: Any, people: Any) -> None:
    acme = client.table("Companies").create({"Title": "Acme"})
    assert people.get(acme["id"])["fields"] == {"Title": "Acme"}


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("{Nmae}='x'", "Unknown field names: Nmae"),
        ("SOUNDEX({Name})", "Invalid formula. Please check your formula text."),
        ("{Name", "Invalid formula. Please check your formula text."),
        ("{Name}='x') OR TRUE(", "Invalid formula. Please check your formula text."),
    ],
)
def test_a_formula_that_cannot_be_read_keeps_nothing(people: Any, formula: str, says: str) -> None:
    people.create({"Name": "Ada"})
    status, error = refusal(lambda: people.all(formula=formula))
    assert (status, error["type"]) == (422, "INVALID_FILTER_BY_FORMULA")
    assert error["message"] == f"The formula for filtering records is invalid: {says}"


@pytest.mark.parametrize(
    ("formula", "kept"),
    [
        ("RECORD_ID()='{id}'", True),
        ("IS_AFTER(LAST_MODIFIED_TIME(), '2026-03-05T11:59:59.000Z')", True),
        ("IS_AFTER(LAST_MODIFIED_TIME(), '2026-03-05T12:00:00.000Z')", False),
        ("NOT(IS_BEFORE({Changed}, DATETIME_PARSE('2026-03-05T12:00:00.000Z')))", True),
        ("{Name}='it\\'s \"so\"'", True),
        ("FIND('SO', {Name})", False),
        ("FIND('so', LOWER({Name}))", True),
        ("{N}=BLANK()", True),
        ("OR({Done}, {N} > 3)", False),
    ],
)
def test_the_formulas_that_a_sync_needs(people: Any, formula: str, kept: bool) -> None:
    made = people.create({"Name": 'it\'s "so"'})
    assert bool(people.all(formula=formula.replace("{id}", made["id"]))) is kept


def test_a_listing_dies_when_it_is_left_alone_or_its_question_changes(
    people: Any, airtable: Airtable
) -> None:
    people.batch_create([{"Name": str(number)} for number in range(5)])
    pages = people.iterate(page_size=2)
    next(pages)
    airtable.clock.passes(600)
    status, error = refusal(lambda: next(pages))
    assert (status, error) == (422, {"type": "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"})
    pages = people.iterate(page_size=2)
    next(pages)
    airtable.forget_listings()
    assert refusal(lambda: next(pages))[1]["type"] == "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"
    listing = people.urls.records
    status, error = refusal(lambda: people.api.get(listing, params={"offset": "nonsense"}))
    assert (status, error["type"]) == (422, "INVALID_OFFSET_VALUE")


def test_rights_are_checked_first(airtable: Airtable, url: str, base: Base) -> None:
    airtable.add_token("patReader", scopes=("data.records:read",))
    airtable.add_token("patOther", bases=("appOther",))
    for secret, place, status, kind in (
        ("patUnknown", f"{base.id}/Companies", 401, "AUTHENTICATION_REQUIRED"),
        ("patOther", f"{base.id}/Companies", 403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"),
        (SECRET, f"{base.id}/Nowhere", 403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"),
        (SECRET, "appNowhere/Companies", 403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"),
        ("patReader", f"meta/bases/{base.id}/tables", 403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"),
    ):
        answer = httpx.get(
            f"{url}/v0/{place}", headers={"authorization": f"Bearer {secret}"}, trust_env=False
        )
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), place
    answer = httpx.get(f"{url}/v0/{base.id}", headers={"authorization": f"Bearer {SECRET}"}, trust_env=False)
    assert (answer.status_code, answer.json()) == (404, {"error": "NOT_FOUND"})


# -- limits -----------------------------------------------------------------------------------------


def test_the_sixth_call_of_a_second_locks_the_base_for_half_a_minute(people: Any, airtable: Airtable) -> None:
    airtable.has_limits = True
    for _ in range(5):
        people.all()
    for wait in (0, 1, 28):
        airtable.clock.passes(wait)
        status, error = refusal(people.all)
        assert (status, error["type"]) == (429, "RATE_LIMIT_REACHED")
    airtable.clock.passes(2)
    people.all()


def test_the_cap_of_the_month_closes_the_data_and_not_the_schema(
    people: Any, client: Any, airtable: Airtable
) -> None:
    airtable.calls_left = 1
    people.all()
    status, error = refusal(people.all)
    assert (status, error["type"]) == (429, "PUBLIC_API_BILLING_LIMIT_EXCEEDED")
    client.schema()


# -- sign-in ----------------------------------------------------------------------------------------

VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
ASKED = {
    "client_id": "acme",
    "redirect_uri": "https://app.example.org/back",
    "response_type": "code",
    "scope": "data.records:read schema.bases:read",
    "state": "s" * 20,
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


class SignIn:
    def __init__(self, url: str, secret: str | None) -> None:
        self.client = httpx.Client(base_url=url, trust_env=False)
        self.auth = httpx.BasicAuth("acme", secret) if secret else None
        self.own = {} if secret else {"client_id": "acme"}

    def authorize(self, **changed: str) -> dict[str, list[str]]:
        form = {**ASKED, "answer": "grant", **changed}
        answer = self.client.post("/oauth2/v1/authorize", data=form)
        assert answer.status_code == 302, answer.text
        return parse_qs(urlsplit(answer.headers["location"]).query)

    def token(self, **form: str) -> httpx.Response:
        auth = self.auth or httpx.USE_CLIENT_DEFAULT
        return self.client.post("/oauth2/v1/token", data={**self.own, **form}, auth=auth)

    def exchange(self, code: str, **changed: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        return self.token(**{**form, "redirect_uri": ASKED["redirect_uri"], **changed})


@pytest.fixture(params=["with a secret", "without a secret"])
def sign_in(request: pytest.FixtureRequest, airtable: Airtable, url: str) -> Iterator[SignIn]:
    secret = "s3cret" if request.param == "with a secret" else None
    airtable.add_client("acme", secret, [ASKED["redirect_uri"]])
    sign_in = SignIn(url, secret)
    yield sign_in
    sign_in.client.close()


def test_a_person_grants_access_and_the_tokens_rotate(
    sign_in: SignIn, airtable: Airtable, url: str, base: Base
) -> None:
    page = sign_in.client.get("/oauth2/v1/authorize", params=ASKED)
    assert "Grant access" in page.text
    back = sign_in.authorize()
    assert back["state"] == [ASKED["state"]]
    first = sign_in.exchange(back["code"][0]).json()
    assert first["token_type"] == "Bearer " and first["expires_in"] == 3600

    def works(token: str) -> bool:
        headers = {"authorization": f"Bearer {token}"}
        return sign_in.client.get("/v0/meta/bases", headers=headers).status_code == 200

    assert works(first["access_token"])
    second = sign_in.token(grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert works(second["access_token"]) and not works(first["access_token"])
    soon = sign_in.token(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert soon.status_code == 409
    airtable.clock.passes(60)
    late = sign_in.token(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (late.status_code, late.json()["error"]) == (400, "invalid_grant")
    airtable.clock.passes(3600)
    assert not works(second["access_token"])
    airtable.revoke()
    dead = sign_in.token(grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert (dead.status_code, dead.json()["error"]) == (400, "invalid_grant")


def test_a_code_is_good_once_for_ten_minutes_and_for_who_asked(sign_in: SignIn, airtable: Airtable) -> None:
    for changed in ({"code_verifier": "w" * 50}, {"redirect_uri": "https://evil.example.org/"}):
        code = sign_in.authorize()["code"][0]
        assert sign_in.exchange(code, **changed).json()["error"] == "invalid_grant"
        assert sign_in.exchange(code).status_code == 400, "single use, also where it failed"
    code = sign_in.authorize()["code"][0]
    airtable.clock.passes(601)
    assert sign_in.exchange(code).status_code == 400


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"answer": "deny"}, "access_denied"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"state": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_what_goes_wrong_at_the_grant_is_sent_back(
    sign_in: SignIn, changed: dict[str, str], error: str
) -> None:
    assert sign_in.authorize(**changed)["error"] == [error]


def test_an_unknown_client_or_address_is_never_sent_back(sign_in: SignIn) -> None:
    for changed in ({"client_id": "other"}, {"redirect_uri": "https://evil.example.org/"}):
        answer = sign_in.client.post("/oauth2/v1/authorize", data={**ASKED, **changed, "answer": "grant"})
        assert answer.status_code == 400


def test_a_client_proves_itself_as_it_must(airtable: Airtable, url: str) -> None:
    airtable.add_client("acme", "s3cret")
    for given in (SignIn(url, "wrong"), SignIn(url, None)):
        answer = given.token(grant_type="refresh_token", refresh_token="x")
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        given.client.close()


# -- pages ------------------------------------------------------------------------------------------


def test_a_person_edits_cells_on_the_page(airtable: Airtable, url: str) -> None:
    airtable.fill()
    (base,) = airtable.bases.values()
    customers = base.tables[1]
    ada = next(iter(customers.records))
    with httpx.Client(base_url=url, trust_env=False) as person:
        assert "ada@example.org" in person.get("/").text
        form = {"row": ada, "columns": "1", "name0": "Name", "was0": "Ada", "act": "save"}
        person.post(f"/cells/{base.id}.{customers.id}", data={**form, "cell0": "Ada L."})
        assert airtable.shown(base, customers, customers.records[ada])["Name"] == "Ada L."
        wrong = {**form, "name0": "Balance", "was0": "", "cell0": "much"}
        answer = person.post(f"/cells/{base.id}.{customers.id}", data=wrong)
        assert answer.status_code == 400 and "cannot accept the provided value" in answer.text
    assert airtable.journal == [], "what a person does is no write of a sync"

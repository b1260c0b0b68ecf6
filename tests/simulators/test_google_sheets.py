"""The simulated Google, proved by the libraries that people use with the real one."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import google.auth.exceptions
import google.oauth2.credentials
import google.oauth2.service_account
import gspread
import pytest
import requests
from google.auth.transport.requests import AuthorizedSession, Request
from googleapiclient.discovery import build  # type: ignore[import-untyped]
from googleapiclient.errors import HttpError  # type: ignore[import-untyped]
from gspread.http_client import HTTPClient
from gspread.utils import ValueRenderOption
from requests.adapters import HTTPAdapter

from simulators.base import serving
from simulators.google_sheets import DRIVE, READ_ONLY, SHEETS, GoogleSheets

USER = "person@example.org"


@pytest.fixture
def google_() -> Iterator[tuple[GoogleSheets, str]]:
    simulated = GoogleSheets(now=lambda: datetime.now(UTC), rand=random.Random(3).random)
    simulated.has_limits = False
    simulated.add_token("ya29.person")
    with serving(simulated) as url:
        yield simulated, url


def credentials(token: str = "ya29.person") -> Any:
    return google.oauth2.credentials.Credentials(token=token)  # type: ignore[no-untyped-call]


def gspread_client(url: str, token: str = "ya29.person") -> gspread.Client:
    class Here(HTTPClient):
        def request(self, method: str, endpoint: str, **more: Any) -> Any:  # type: ignore[override]
            for host in ("https://sheets.googleapis.com", "https://www.googleapis.com"):
                endpoint = endpoint.replace(host, url)
            return super().request(method, endpoint, **more)

    client = gspread.authorize(credentials(token), http_client=Here)
    client.http_client.set_timeout(20)
    return client


def api(url: str, token: str = "ya29.person") -> Any:
    return build(
        "sheets",
        "v4",
        credentials=credentials(token),
        client_options={"api_endpoint": f"{url}/"},
        static_discovery=True,
        cache_discovery=False,
    )


def test_gspread_works_a_whole_script(google_: tuple[GoogleSheets, str]) -> None:
    simulated, url = google_
    book = simulated.add_book("Script")
    file = gspread_client(url).open_by_key(book.id)
    assert file.title == "Script"
    tab = file.add_worksheet("Data", rows=20, cols=5)
    tab.update([["Name", "Since", "Sum"], ["007", "2020-01-01", 1.5]], "A1")
    assert tab.get_all_values() == [["Name", "Since", "Sum"], ["007", "2020-01-01", "1.5"]]
    tab.update([["2,000,000.01", "2020-01-01", "=4/2"]], "A3", raw=False)
    assert tab.get("A3:C3") == [["2,000,000.01", "2020-01-01", "2"]]
    unformatted = tab.get("A3:C3", value_render_option=ValueRenderOption.unformatted)
    assert unformatted == [[2000000.01, 43831, 2]]
    assert tab.get("C3", value_render_option=ValueRenderOption.formula) == [["=4/2"]]
    assert [list(part) for part in tab.batch_get(["A1:A2", "C1:C9"])] == [
        [["Name"], ["007"]],
        [["Sum"], ["1.5"], ["2"]],
    ]
    tab.batch_update([{"range": "A4:B4", "values": [["a", "b"]]}, {"range": "C4", "values": [[True]]}])
    assert tab.row_values(4) == ["a", "b", "TRUE"]
    assert tab.get_all_records(numericise_ignore=["all"])[0]["Name"] == "007"
    tab.insert_row(["first"], 2)
    assert tab.acell("A2").value == "first"
    tab.delete_rows(2)
    assert tab.acell("A2").value == "007"
    found = tab.find("007")
    assert found is not None
    assert (found.row, found.col) == (2, 1)
    tab.resize(rows=30)
    assert file.worksheet("Data").row_count == 30
    tab.batch_clear(["A4:C4"])
    assert tab.row_values(4) == []
    tab.define_named_range("A1:C1", "head")
    assert file.values_get("head")["values"] == [["Name", "Since", "Sum"]]
    tab.update_title("Data 'two'")
    assert tab.get("A1") == [["Name"]]
    tab.clear()
    assert tab.get_all_values() in ([], [[]])
    file.del_worksheet(tab)
    assert [item.title for item in file.worksheets()] == ["Sheet1"]


def test_append_looks_for_a_table_as_the_real_one_does(google_: tuple[GoogleSheets, str]) -> None:
    simulated, url = google_
    tab = gspread_client(url).open_by_key(simulated.add_book("Append").id).sheet1
    tab.append_row(["x", "", "z"])
    drifted: Any = tab.append_row(["x", "", "z"])
    assert (drifted["tableRange"], drifted["updates"]["updatedRange"]) == ("Sheet1!C1", "Sheet1!C2:E2")
    tab.clear()
    tab.append_row(["x", "", "z"], table_range="A1")
    anchored: Any = tab.append_row(["x", "", "z"], table_range="A1")
    assert (anchored["tableRange"], anchored["updates"]["updatedRange"]) == ("Sheet1!A1", "Sheet1!A2:C2")


def test_gspread_is_refused_as_by_the_real_one(google_: tuple[GoogleSheets, str]) -> None:
    simulated, url = google_
    book = simulated.add_book("Mine")
    client = gspread_client(url)
    with pytest.raises(gspread.exceptions.SpreadsheetNotFound):
        client.open_by_key("missing")
    tab = client.open_by_key(book.id).sheet1
    for act, said in (
        (lambda: tab.update([["x"]], "A1001"), "exceeds grid limits. Max rows: 1000, max columns: 26"),
        (lambda: tab.get("Nowhere!A1"), "Unable to parse range"),
        (lambda: tab.update([["a", "b", "c"]], "A1:B1"), r"tried writing to column \[C\]"),
        (
            lambda: client.open_by_key(book.id).values_update("A1", {}, {"values": [["x"]]}),
            "valueInputOption",
        ),
        (lambda: client.open_by_key(book.id).add_worksheet("Sheet1", 1, 1), "already exists"),
        (lambda: tab.update(["x"], "A1"), "Invalid value at 'data.values'"),
    ):
        with pytest.raises(gspread.exceptions.APIError, match=said):
            act()
    book.roles = {}
    with pytest.raises(PermissionError):
        client.open_by_key(book.id)


def test_googles_own_client_works_with_filters_metadata_and_masks(
    google_: tuple[GoogleSheets, str],
) -> None:
    simulated, url = google_
    book = simulated.add_book("Own")
    simulated.add_tab(book, "Data", [["id", "n"], ["a", "1"], ["b", "=4/2"]])
    sheets = api(url).spreadsheets()
    found = sheets.get(
        spreadsheetId=book.id, fields="sheets.properties(title,sheetId),properties/title"
    ).execute()
    assert found == {
        "sheets": [{"properties": {"title": "Data", "sheetId": 0}}],
        "properties": {"title": "Own"},
    }
    where = {"dimensionRange": {"sheetId": 0, "dimension": "ROWS", "startIndex": 2, "endIndex": 3}}
    mark = {"metadataKey": "rid", "metadataValue": "b", "visibility": "DOCUMENT", "location": where}
    requests_ = [{"createDeveloperMetadata": {"developerMetadata": mark}}]
    sheets.batchUpdate(spreadsheetId=book.id, body={"requests": requests_}).execute()
    row = {"sheetId": 0, "dimension": "ROWS", "startIndex": 1, "endIndex": 2}
    sheets.batchUpdate(
        spreadsheetId=book.id, body={"requests": [{"insertDimension": {"range": row}}]}
    ).execute()
    look = {"dataFilters": [{"developerMetadataLookup": {"metadataKey": "rid"}}]}
    matched = sheets.developerMetadata().search(spreadsheetId=book.id, body=look).execute()
    moved = matched["matchedDeveloperMetadata"][0]["developerMetadata"]["location"]["dimensionRange"]
    assert (moved["startIndex"], moved["endIndex"]) == (3, 4)
    values = sheets.values().batchGetByDataFilter(spreadsheetId=book.id, body=look).execute()
    assert values["valueRanges"][0]["valueRange"]["values"] == [["b", "2"]]
    grid = sheets.get(
        spreadsheetId=book.id,
        ranges="'Data'",
        fields="sheets.data.rowData.values(userEnteredValue,effectiveValue)",
    ).execute()
    cells = grid["sheets"][0]["data"][0]["rowData"][3]["values"]
    assert cells[1] == {"userEnteredValue": {"formulaValue": "=4/2"}, "effectiveValue": {"numberValue": 2}}
    with pytest.raises(HttpError, match="invalid argument"):
        sheets.get(spreadsheetId=book.id, fields="sheets.nonsense").execute()


def test_a_batch_is_done_whole_or_not_at_all(google_: tuple[GoogleSheets, str]) -> None:
    simulated, url = google_
    book = simulated.add_book("Whole")
    sheets = api(url).spreadsheets()
    good = {"updateSheetProperties": {"properties": {"sheetId": 0, "title": "New"}, "fields": "title"}}
    bad = {"deleteSheet": {"sheetId": 4711}}
    with pytest.raises(HttpError, match="No grid with id: 4711"):
        sheets.batchUpdate(spreadsheetId=book.id, body={"requests": [good, bad]}).execute()
    assert book.tabs[0].title == "Sheet1"
    rows = {"sheetId": 0, "dimension": "ROWS", "startIndex": 0, "endIndex": 1000}
    with pytest.raises(HttpError, match="not possible to delete all"):
        sheets.batchUpdate(
            spreadsheetId=book.id, body={"requests": [{"deleteDimension": {"range": rows}}]}
        ).execute()


def test_quotas_and_rights_are_refused_in_googles_words(google_: tuple[GoogleSheets, str]) -> None:
    simulated, url = google_
    simulated.has_limits = True
    book = simulated.add_book("Quota")
    sheets = api(url).spreadsheets()
    for _ in range(60):
        sheets.get(spreadsheetId=book.id).execute()
    with pytest.raises(HttpError) as told:
        sheets.get(spreadsheetId=book.id).execute()
    assert told.value.status_code == 429
    assert "limit 'Read requests per minute per user'" in told.value.reason
    # Writes are counted apart, and a new minute brings new calls.
    sheets.values().clear(spreadsheetId=book.id, range="A1", body={}).execute()
    simulated.clock.passes(61)
    sheets.get(spreadsheetId=book.id).execute()
    simulated.add_token("ya29.reader", scopes=[READ_ONLY])
    reader = api(url, "ya29.reader").spreadsheets()
    reader.get(spreadsheetId=book.id).execute()
    with pytest.raises(HttpError, match="insufficient authentication scopes"):
        reader.values().clear(spreadsheetId=book.id, range="A1", body={}).execute()
    with pytest.raises(HttpError) as missing:
        sheets.get(spreadsheetId="missing").execute()
    assert missing.value.status_code == 404


class _Here(HTTPAdapter):
    """Sends what is meant for Google's hosts to the simulator."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send(self, request: Any, **more: Any) -> Any:  # type: ignore[override]
        parts = urllib.parse.urlsplit(request.url)
        request.url = self.url + parts.path + (f"?{parts.query}" if parts.query else "")
        return super().send(request, **more)


def test_google_auth_signs_in_a_service_account_and_refreshes_a_user(
    google_: tuple[GoogleSheets, str],
) -> None:
    simulated, url = google_
    session = requests.Session()
    session.mount("https://", _Here(url))
    key = simulated.add_account("robot")
    robot = google.oauth2.service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        key, scopes=[SHEETS]
    )
    robot.refresh(Request(session))
    book = simulated.add_book("Shared", shared_with=[key["client_email"]])
    answer = requests.get(
        f"{url}/v4/spreadsheets/{book.id}", headers={"authorization": f"Bearer {robot.token}"}, timeout=20
    )
    assert answer.json()["properties"]["title"] == "Shared"

    simulated.add_client("client", "secret")
    refresh = sign_in(url, "client", "secret")
    person = google.oauth2.credentials.Credentials(  # type: ignore[no-untyped-call]
        token=None,
        refresh_token=refresh["refresh_token"],
        token_uri=f"{url}/token",
        client_id="client",
        client_secret="secret",
    )
    authorized = AuthorizedSession(person)  # type: ignore[no-untyped-call]
    assert authorized.get(f"{url}/v4/spreadsheets/{book.id}", timeout=20).status_code == 200
    first = person.token
    simulated.expire_tokens()  # a 401, then a refresh, and the call again
    assert authorized.get(f"{url}/v4/spreadsheets/{book.id}", timeout=20).status_code == 200
    assert person.token != first
    simulated.end_grants(USER)
    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant"):
        person.refresh(Request())  # type: ignore[no-untyped-call]


def sign_in(url: str, client: str, secret: str, verifier: str = "v" * 43) -> dict[str, Any]:
    """What a browser and a client do together; the tokens."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": client,
        "redirect_uri": "http://127.0.0.1:1/back",
        "response_type": "code",
        "scope": f"{SHEETS} {DRIVE} openid email",
        "state": "s",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    agreed = requests.post(
        f"{url}/o/oauth2/v2/auth", data={**asked, "act": "allow"}, allow_redirects=False, timeout=20
    )
    back = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(agreed.headers["location"]).query))
    assert back["state"] == "s"
    form = {
        "grant_type": "authorization_code",
        "code": back["code"],
        "redirect_uri": asked["redirect_uri"],
        "client_id": client,
        "client_secret": secret,
    }
    wrong = requests.post(f"{url}/token", data={**form, "code_verifier": "other"}, timeout=20)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    again = requests.post(f"{url}/token", data={**form, "code_verifier": verifier}, timeout=20)
    assert again.json()["error"] == "invalid_grant"  # a code is good once
    agreed = requests.post(
        f"{url}/o/oauth2/v2/auth", data={**asked, "act": "allow"}, allow_redirects=False, timeout=20
    )
    form["code"] = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(agreed.headers["location"]).query))[
        "code"
    ]
    found = requests.post(f"{url}/token", data={**form, "code_verifier": verifier}, timeout=20).json()
    assert found["expires_in"] == 3599
    return dict(found)


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"refresh_token": "1//dead"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_the_token_endpoint_refuses_as_documented(
    google_: tuple[GoogleSheets, str], change: dict[str, str], status: int, error: str
) -> None:
    simulated, url = google_
    simulated.add_client("client", "secret")
    form = {
        "grant_type": "refresh_token",
        "refresh_token": sign_in(url, "client", "secret")["refresh_token"],
        "client_id": "client",
        "client_secret": "secret",
    }
    refreshed = requests.post(f"{url}/token", data=form, timeout=20).json()
    assert "refresh_token" not in refreshed  # the old one stays good
    refused = requests.post(f"{url}/token", data=form | change, timeout=20)
    assert (refused.status_code, refused.json()["error"]) == (status, error)


def test_a_person_edits_the_cells_on_the_page(google_: tuple[GoogleSheets, str]) -> None:
    simulated, url = google_
    simulated.fill()
    tab = next(iter(simulated.books.values())).tabs[0]
    grid = simulated.grids()[0]
    with urllib.request.urlopen(f"{url}/") as page:
        shown = page.read().decode()
    assert "Ada Lovelace" in shown
    assert "2024-03-05" in shown
    form = {"row": "2", "columns": "2", "name0": "B", "was0": "Ada Lovelace", "cell0": "Ada Byron"}
    requests.post(f"{url}/cells/{grid.id}", data=form, timeout=20)
    assert tab.rows[1][1].value == "Ada Byron"
    requests.post(f"{url}/cells/{grid.id}", data={"act": "add"}, timeout=20)
    assert len(simulated.grids()[0].rows) == len(grid.rows) + 1
    requests.post(f"{url}/cells/{grid.id}", data={"act": "remove", "row": "2"}, timeout=20)
    assert tab.rows[1][1].value == "Blaise Pascal"


def test_calls_at_the_same_time_are_carried_out_one_by_one(google_: tuple[GoogleSheets, str]) -> None:
    simulated, url = google_
    book = simulated.add_book("Busy")
    headers = {"authorization": "Bearer ya29.person"}

    def append(number: int) -> None:
        requests.post(
            f"{url}/v4/spreadsheets/{book.id}/values/A1:append?valueInputOption=RAW",
            json={"values": [[f"row {number}"]]},
            headers=headers,
            timeout=20,
        )

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row[0].value for row in book.tabs[0].rows if row} == {f"row {number}" for number in range(8)}
    assert json.dumps(book.as_json(None, True))

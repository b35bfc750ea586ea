"""People give themselves another password: by the API, and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from storage.people_rows import Role
from storage.stream import EventLog
from tests.facts import Plant
from tests.integration.served import Served, browser
from tests.integration.staff import NAMES, PASSWORD, hire, showing
from tests.integration.test_sign_in import SESSION, told

CHANGE = "/api/v1/session/password"
WANTED = "nine quiet kettles, one harbour"


@pytest.fixture
def up(plant: Plant, log: EventLog, tmp_path: Path) -> Served:
    hire(plant.database)
    return Served(plant, log, tmp_path, '\n[server]\nhost = "0.0.0.0"\n', is_demo=False)


@pytest.fixture
def client(up: Served) -> Iterator[TestClient]:
    with browser(up, "192.0.2.7", "http://192.0.2.1:8000") as client:
        yield client


def signed_in(client: TestClient, name: str, password: str) -> int:
    return client.post(SESSION, json={"name": name, "password": password}).status_code


@pytest.mark.parametrize("name", NAMES.values())
def test_everybody_changes_their_own_password_and_other_browsers_are_signed_out(
    client: TestClient, up: Served, name: str
) -> None:
    elsewhere = showing(up.database, name, "session")
    assert client.get(SESSION, headers=elsewhere).status_code == 200
    assert signed_in(client, name, PASSWORD) == 200
    assert client.put(CHANGE, json={"password": PASSWORD, "wanted": WANTED}).json()["name"] == name
    assert client.get(SESSION).json()["way"] == "session", "who changed it goes on"
    client.cookies.clear()
    assert client.get(SESSION, headers=elsewhere).status_code == 401
    assert signed_in(client, name, PASSWORD) == 401
    assert signed_in(client, name, WANTED) == 200
    assert ("password_changed", name, name, None, "") in told(up.database)


def test_a_wrong_or_too_weak_password_changes_nothing_and_guessing_is_slowed_down(
    client: TestClient, up: Served
) -> None:
    assert signed_in(client, "otto", PASSWORD) == 200
    for wanted in ("short", "password password password", "otto otto otto otto"):
        assert client.put(CHANGE, json={"password": PASSWORD, "wanted": wanted}).status_code == 422
    answers = [client.put(CHANGE, json={"password": "guess", "wanted": WANTED}).status_code for _ in range(7)]
    assert answers[0] == 401 and answers[-1] == 429
    assert ("sign_in_refused", "otto", "nobody", "192.0.2.7", "") in told(up.database)
    assert client.get(SESSION).json()["name"] == "otto"


def test_a_page_of_another_site_changes_no_password_and_it_is_on_record(client: TestClient, up: Served) -> None:
    assert signed_in(client, "otto", PASSWORD) == 200
    words = {"password": PASSWORD, "wanted": WANTED}
    for _ in range(3):
        assert client.put(CHANGE, json=words, headers={"Origin": "http://evil.example"}).status_code == 403
    refused = [row for row in told(up.database) if row[0] == "refused"]
    what = "PUT from a page of another site, origin http://evil.example"
    assert refused == [("refused", "otto", "otto", "192.0.2.7", what)], "the same within a minute is one row"


def test_who_has_no_password_is_told_so(client: TestClient, up: Served) -> None:
    headers = {"Authorization": f"Bearer {Served.console_token}"}
    answer = client.put(CHANGE, json={"password": PASSWORD, "wanted": WANTED}, headers=headers)
    assert answer.status_code == 401 and "adline user passwd" in answer.json()["detail"]


@pytest.mark.parametrize(("language", "said"), [("en", "Change the password"), ("ko", "비밀번호 변경")])
def test_the_page_says_what_is_wrong_and_leads_on_when_it_is_done(client: TestClient, language: str, said: str) -> None:
    headers = {"Accept-Language": language}
    assert client.get("/password", headers={"Accept": "text/html"}).headers["location"] == "/sign-in?next=%2Fpassword"
    assert signed_in(client, "aude", PASSWORD) == 200
    assert '<a href="/password">' in client.get("/sign-in").text
    assert said in client.get("/password", headers=headers).text
    for given, status in (
        ({"password": PASSWORD, "wanted": "short"}, 422),
        ({"password": "wrong", "wanted": WANTED}, 401),
        ({}, 422),
        ({"password": PASSWORD, "wanted": WANTED}, 303),
    ):
        answer = client.post("/password", data=given, headers=headers)
        assert (answer.status_code, 'role="alert"' in answer.text) == (status, status != 303)
    assert client.get(SESSION).json()["role"] == Role.AUDITOR


def test_what_a_role_may_not_do_is_refused_and_on_record(client: TestClient, up: Served) -> None:
    operator, auditor = (showing(up.database, NAMES[role], "token") for role in (Role.OPERATOR, Role.AUDITOR))
    for name in ("rust", "dent", "x" * 150):
        entry = {"definition": "d", "severity": "minor"}
        assert client.put(f"/api/v1/defects/{name}", json=entry, headers=operator).status_code == 403
    assert client.post("/api/v1/reviews/claim", json={}, headers=auditor).status_code == 403
    refused = [row for row in told(up.database) if row[0] == "refused"]
    assert refused == [
        ("refused", "otto", "otto", "192.0.2.7", "PUT /api/v1/defects/{name}: needs engineer, is operator"),
        ("refused", "aude", "aude", "192.0.2.7", "POST /api/v1/reviews/claim: needs operator, is auditor"),
    ]

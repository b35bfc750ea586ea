"""Signing in: with the right password, the wrong one, too often, and what ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from orchestrator.doorkeeper import Doorkeeper
from storage import people, tries
from storage.auditor import ask
from storage.database import Database
from storage.errors import LastAdmin, SignInLimited, SignInRefused, TokenUnknown, UserExists
from storage.people_rows import SECRET_TABLES, Role
from storage.stream import EventLog
from tests.conftest import execute
from tests.facts import Plant
from tests.integration.served import Served, browser
from tests.integration.staff import COOKIE, PASSWORD, hire, password_hash, showing

SESSION = "/api/v1/session"
DEVICE = "adline_device_8000"
HTTPS = "https://inspection.plant.example"
OTTO = {"name": "otto", "password": PASSWORD}


@pytest.fixture
def up(plant: Plant, log: EventLog, tmp_path: Path) -> Served:
    hire(plant.database)
    settings = '\n[server]\nhost = "0.0.0.0"\nallowed_hosts = ["inspection.plant.example"]\n'
    return Served(plant, log, tmp_path, settings, is_demo=False)


@pytest.fixture
def client(up: Served) -> Iterator[TestClient]:
    with browser(up, "192.0.2.7", "http://192.0.2.1:8000") as client:
        yield client


@pytest.fixture
def doorkeeper(up: Served) -> Doorkeeper:
    return Doorkeeper(up.database, up.settings, console_token="of this run", is_demo=False)


def told(database: Database) -> list[tuple[Any, ...]]:
    with database.begin() as session:
        question = "SELECT what, user_name, done_by, address, detail FROM people_events WHERE what <> 'user_added'"
        return [tuple(row) for row in session.execute(text(f"{question} ORDER BY id"))]


def test_who_signs_in_is_known_until_they_sign_out(client: TestClient, up: Served) -> None:
    assert client.get(SESSION).status_code == 401
    answer = client.post(SESSION, json={"name": " OTTO ", "password": PASSWORD})
    assert answer.json() == {"name": "otto", "role": "operator", "way": "session", "says": "signed in with a password"}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert client.get(SESSION).json()["name"] == "otto"
    token = client.cookies[COOKIE]
    assert client.delete(SESSION).status_code == 204
    assert COOKIE not in client.cookies
    assert client.get("/api/v1/parts", headers={"Cookie": f"{COOKIE}={token}"}).status_code == 401
    assert client.delete(SESSION).status_code == 204
    assert told(up.database) == [
        ("signed_in", "otto", "otto", "192.0.2.7", ""),
        ("signed_out", "otto", "otto", "192.0.2.7", ""),
    ]


def test_over_https_the_cookie_never_goes_any_other_way(up: Served) -> None:
    with browser(up, url=HTTPS) as client:
        cookies = client.post(SESSION, json=OTTO).headers.get_list("set-cookie")
        assert [cookie.partition("=")[0] for cookie in cookies] == [f"__Host-{COOKIE}", f"__Host-{DEVICE}"]
        assert all("Secure" in cookie for cookie in cookies)
        assert client.get(SESSION).status_code == 200


def test_a_wrong_password_an_unknown_name_and_none_at_all_are_refused_alike(client: TestClient, up: Served) -> None:
    answers = [
        client.post(SESSION, json={"name": name, "password": password})
        for name, password in (("otto", "wrong"), ("nobody", PASSWORD), ("a b\x00", "x"), ("console", PASSWORD))
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert not client.cookies
    refused = [("sign_in_refused", name, "nobody", "192.0.2.7", "") for name in ("otto", None, None, None)]
    assert told(up.database) == refused, "what nobody is called may be a password, and is not kept"
    for body in ({}, {"name": "otto"}, {"name": "otto", "password": PASSWORD, "role": "admin"}):
        assert client.post(SESSION, json=body).status_code == 422


def test_guessing_is_slowed_down_and_remembered_over_a_restart(client: TestClient, up: Served) -> None:
    for _ in range(5):
        assert client.post(SESSION, json={"name": "otto", "password": "guess"}).status_code == 401
    execute(
        up.database.url,
        "UPDATE sign_in_tries SET tries = 12 WHERE tries = 5",
        "UPDATE sign_in_tries SET tried_at = now()",
    )
    restarted = browser(up, "192.0.2.7", "http://192.0.2.1:8000")
    for words in (OTTO, OTTO, {"name": "otto", "password": "guess"}):
        answer = restarted.post(SESSION, json=words)
        assert answer.status_code == 429, "also the right password waits: it may have been guessed"
        assert 100 < int(answer.headers["retry-after"]) <= 128
    whats = [what for what, *_ in told(up.database)]
    assert whats == ["sign_in_refused"] * 5 + ["sign_in_limited"], "hammering fills no table"
    execute(up.database.url, "UPDATE sign_in_tries SET tried_at = now() - interval '129 seconds'")
    assert restarted.post(SESSION, json=OTTO).status_code == 200
    assert restarted.post(SESSION, json={"name": "otto", "password": "typo"}).status_code == 401


def test_many_guesses_at_once_are_many_guesses(doorkeeper: Doorkeeper) -> None:
    with doorkeeper.database.begin() as session:
        tries.take(session, doorkeeper.limits(False, "otto", "192.0.2.9", ""))
        session.execute(text("UPDATE sign_in_tries SET tries = 13, tried_at = now() - interval '1 hour'"))
    outcomes: list[type[Exception]] = []

    def guess() -> None:
        try:
            doorkeeper.sign_in("otto", "guess", "192.0.2.9", "")
        except (SignInRefused, SignInLimited) as error:
            outcomes.append(type(error))

    guessing = [threading.Thread(target=guess) for _ in range(12)]
    for thread in guessing:
        thread.start()
    for thread in guessing:
        thread.join()
    assert outcomes.count(SignInRefused) == 1, "the next one is heard in eight minutes"
    assert outcomes.count(SignInLimited) == 11


def test_one_address_cannot_try_one_password_on_everybody(doorkeeper: Doorkeeper) -> None:
    with doorkeeper.database.begin() as session:
        for number in range(20):
            assert tries.take(session, doorkeeper.limits(False, f"user-{number}", "192.0.2.9", "")) == 0
        assert tries.take(session, doorkeeper.limits(False, "user-20", "192.0.2.9", "")) > 0
        assert tries.take(session, doorkeeper.limits(False, "user-20", "192.0.2.10", "")) == 0


def test_a_stranger_cannot_keep_the_only_operator_out(client: TestClient, up: Served) -> None:
    assert client.post(SESSION, json=OTTO).status_code == 200
    client.delete(SESSION)
    assert client.cookies[DEVICE], "the browser stays known after signing out"
    with browser(up, "192.0.2.66", "http://192.0.2.1:8000") as stranger:
        for _ in range(5):
            stranger.post(SESSION, json={"name": "otto", "password": "guess"})
        execute(up.database.url, "UPDATE sign_in_tries SET tries = 40, tried_at = now()")
        assert stranger.post(SESSION, json=OTTO).status_code == 429
        stranger.cookies.set(DEVICE, "made up")
        assert stranger.post(SESSION, json=OTTO).status_code == 429
        longest = int(stranger.post(SESSION, json=OTTO).headers["retry-after"])
        assert longest <= tries.LONGEST_WAIT_SECONDS, "and nobody waits for ever"
    assert client.post(SESSION, json=OTTO).status_code == 200


def test_a_known_browser_may_not_guess_for_ever_either(client: TestClient) -> None:
    assert client.post(SESSION, json=OTTO).status_code == 200
    answers = [client.post(SESSION, json={"name": "otto", "password": "guess"}).status_code for _ in range(6)]
    assert answers[:5] == [401] * 5
    others = client.post(SESSION, json={"name": "ada", "password": "guess"})
    assert others.status_code == 401, "the browser is known to otto alone"


def test_tries_of_long_ago_are_forgotten(database: Database) -> None:
    free = {tries.key("account", "otto"): 1}
    with database.begin() as session:
        assert tries.take(session, free) == 0
        assert tries.take(session, free) > 0
        session.execute(text("UPDATE sign_in_tries SET tries = 50, tried_at = now() - interval '25 hours'"))
        assert tries.take(session, free) == 0
        assert session.scalar(text("SELECT tries FROM sign_in_tries")) == 1


@pytest.mark.parametrize("change", ["role", "password", "removal"])
def test_another_role_or_password_ends_every_session(client: TestClient, up: Served, change: str) -> None:
    assert client.post(SESSION, json=OTTO).status_code == 200
    elsewhere = showing(up.database, "otto", "session")
    token = showing(up.database, "otto", "token")
    with up.database.begin() as session:
        if change == "role":
            people.change_role(session, "otto", Role.AUDITOR, "test")
        elif change == "password":
            people.change_password(session, "otto", password_hash(), "test")
        else:
            people.remove(session, "otto", "test")
    assert client.get(SESSION).status_code == 401
    assert browser(up, url="http://192.0.2.1:8000").get(SESSION, headers=elsewhere).status_code == 401
    by_token = browser(up, url="http://192.0.2.1:8000").get(SESSION, headers=token)
    if change == "removal":
        assert by_token.status_code == 401
        assert client.post(SESSION, json=OTTO).status_code == 401
    else:
        assert by_token.json()["role"] == ("auditor" if change == "role" else "operator"), "a token has its user's role"


def test_use_keeps_a_session_alive_but_not_longer_than_a_shift(client: TestClient, up: Served) -> None:
    client.post(SESSION, json=OTTO)
    for _ in range(2):
        execute(up.database.url, "UPDATE sessions SET seen_at = seen_at - interval '59 minutes'")
        assert client.get(SESSION).status_code == 200
    execute(up.database.url, "UPDATE sessions SET started_at = now() - interval '12 hours'")
    assert client.get(SESSION).status_code == 401


def test_a_password_under_older_parameters_is_hashed_anew(client: TestClient, up: Served) -> None:
    from argon2 import PasswordHasher
    from argon2.profiles import CHEAPEST

    weak = PasswordHasher.from_parameters(CHEAPEST).hash(PASSWORD)
    with up.database.begin() as session:
        people.change_password(session, "otto", weak, "test")
    assert client.post(SESSION, json=OTTO).status_code == 200
    with up.database.begin() as session:
        strong = people.password_hash(session, "otto")
    assert strong and strong.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_no_secret_is_kept_and_the_auditor_sees_none(client: TestClient, up: Served) -> None:
    client.post(SESSION, json=OTTO)
    showing(up.database, "otto", "token")
    with up.database.begin() as session:
        for table in SECRET_TABLES:
            kept = str(session.execute(text(f"SELECT * FROM {table}")).all())
            assert PASSWORD not in kept and client.cookies[COOKIE] not in kept and client.cookies[DEVICE] not in kept
    execute(up.database.url, "INSERT INTO sign_in_tries VALUES ('k', 1, now())")
    for table in SECRET_TABLES:
        counted = ask(up.database.url, f"SELECT count(*) AS n FROM {table}", timeout_seconds=30, most=1).rows
        assert counted == [{"n": 0}], table
    history = "SELECT what, user_name, role, done_by FROM v_people_history ORDER BY happened_at DESC"
    assert ask(up.database.url, history, timeout_seconds=30, most=2).rows == [
        {"what": "token_added", "user_name": "otto", "role": "operator", "done_by": "test"},
        {"what": "signed_in", "user_name": "otto", "role": "operator", "done_by": "otto"},
    ]


def test_there_is_always_somebody_who_may_do_everything(database: Database) -> None:
    hire(database)
    with pytest.raises(LastAdmin), database.begin() as session:
        people.change_role(session, "ada", Role.OPERATOR, "test")
    with pytest.raises(LastAdmin), database.begin() as session:
        people.remove(session, "ada", "test")
    with database.begin() as session:
        people.change_role(session, "otto", Role.ADMIN, "test")
        people.remove(session, "ada", "test")
    with pytest.raises(UserExists), database.begin() as session:
        people.add(session, "otto", Role.OPERATOR, "test", None)
    with database.begin() as session:
        people.add(session, "ada", Role.AUDITOR, "test", None)
        assert [row["name"] for row in people.listed(session)] == ["ada", "aude", "eun-ji", "otto"]
    with pytest.raises(TokenUnknown), database.begin() as session:
        people.revoke_token(session, 99, "test")


def test_a_page_that_needs_a_sign_in_leads_there_and_back(client: TestClient) -> None:
    browsing = {"Accept": "text/html,*/*"}
    away = client.get("/api/v1/parts?limit=3", headers=browsing)
    assert away.status_code == 303
    assert away.headers["location"] == "/sign-in?next=%2Fapi%2Fv1%2Fparts%3Flimit%3D3"
    page = client.get(away.headers["location"], headers={"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8"})
    assert '<html lang="ko">' in page.text and "비밀번호" in page.text
    assert 'name="next" value="/api/v1/parts?limit=3"' in page.text
    form = {**OTTO, "next": "/api/v1/parts?limit=3"}
    wrong = client.post("/sign-in", data={**form, "password": "wrong", "name": "<script>alert(1)</script>"})
    assert wrong.status_code == 401 and 'role="alert"' in wrong.text
    assert "<script" not in wrong.text and "&lt;script&gt;" in wrong.text
    assert "script-src" not in wrong.headers["content-security-policy"]
    assert "default-src 'none'" in wrong.headers["content-security-policy"]
    back = client.post("/sign-in", data=form)
    assert (back.status_code, back.headers["location"]) == (303, "/api/v1/parts?limit=3")
    assert client.get(back.headers["location"], headers=browsing).status_code == 200
    assert "Sign out" in client.get("/sign-in").text
    assert client.post("/sign-out").headers["location"] == "/sign-in"
    assert client.get(SESSION).status_code == 401


@pytest.mark.parametrize(
    "target",
    [
        *("https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example"),
        *("javascript:alert(1)", "", "evil", "/\n/evil.example", "///evil.example", "http:/evil.example"),
    ],
)
def test_signing_in_leads_nowhere_else(client: TestClient, target: str) -> None:
    assert client.post("/sign-in", data={**OTTO, "next": target}).headers["location"] == "/"
    assert 'name="next" value="/"' in browser_page(client, target)


def browser_page(client: TestClient, target: str) -> str:
    client.cookies.clear()
    return client.get("/sign-in", params={"next": target}).text


def test_a_form_that_is_none_and_one_that_is_huge_are_refused(client: TestClient) -> None:
    assert client.post("/sign-in", content=b"\xff\xfe").status_code == 400
    assert client.post("/sign-in", content=b"&".join(b"a=%d" % n for n in range(50))).status_code == 400
    assert client.post("/sign-in", content=b"a" * (1 << 20)).status_code == 413
    assert client.post("/sign-in").status_code == 401


def test_too_many_tries_are_told_on_the_page(client: TestClient, up: Served) -> None:
    client.post("/sign-in", data={**OTTO, "password": "guess"})
    execute(up.database.url, "UPDATE sign_in_tries SET tries = 50, tried_at = now()")
    page = client.post("/sign-in", data=OTTO, headers={"Accept-Language": "ko"})
    assert page.status_code == 429 and "초 후에 다시" in page.text and int(page.headers["retry-after"]) > 0

"""Every route, by every role, in every way to be known or not: the list is the application's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import text
from starlette.routing import Route
from starlette.websockets import WebSocketDisconnect

from orchestrator.person import declared, undeclared
from orchestrator.relay import Relay
from orchestrator.web import web_app
from storage.people_rows import Role
from storage.stream import EventLog
from tests.facts import STATION, Plant
from tests.integration.levels import LEVELS, PAGES
from tests.integration.served import Served, browser
from tests.integration.staff import ENTITLED, NAMES, STALE, hire, showing

ALL = set(Role)
ALLOWED = {
    ("anybody", "read"): ALL,
    ("anybody", "write"): ALL,
    ("signed-in", "read"): ALL,
    ("signed-in", "write"): ALL,
    ("operator", "read"): ALL,
    ("operator", "write"): ALL - {Role.AUDITOR},
    ("engineer", "read"): ALL - {Role.OPERATOR},
    ("engineer", "write"): {Role.ENGINEER, Role.ADMIN},
    ("admin", "read"): {Role.AUDITOR, Role.ADMIN},
    ("admin", "write"): {Role.ADMIN},
}
TRIGGER = f"/api/v1/stations/{STATION}/trigger"
OPEN = {"/healthz", "/health", "/readyz", "/version", "/sign-in", "/sign-out", "/api/v1/session"}


@pytest.fixture
def up(plant: Plant, log: EventLog, tmp_path: Path) -> Served:
    """A line of the plant's own, for all to reach."""
    hire(plant.database)
    return Served(plant, log, tmp_path, '\n[server]\nhost = "0.0.0.0"\n', is_demo=False)


EVENTS = "/api/v1/events"


@pytest.fixture
def client(up: Served) -> Iterator[TestClient]:
    with browser(up, "192.0.2.7", "http://192.0.2.1:8000") as client:
        yield client


def declared_levels(up: Served) -> dict[str, str]:
    """The level of every route there is."""
    found: dict[str, str] = {}
    for route in web_app(up).routes:
        if isinstance(route, APIRoute):
            needed = declared(route)
            assert needed is not None, f"{route.path} does not say whom it is for"
            found |= {f"{method} {route.path}": needed.level for method in route.methods or ()}
    return found


def asked_for(up: Served) -> list[tuple[str, str, str]]:
    """Method, path and level of every route there is; the level is the one written down in levels.py."""
    found: list[tuple[str, str, str]] = []
    for route in declared_levels(up):
        method, path = route.split()
        path = re.sub(r"\{[^}]*\}", STATION, path)
        path += "?seconds=0.1" if path == EVENTS else ""  # else it tells for as long as somebody listens
        found.append((method, path, LEVELS[route]))
    return found


def test_every_route_and_page_is_for_whom_it_is_written_down_to_be(up: Served) -> None:
    assert declared_levels(up) == LEVELS
    relays = [route for route in web_app(up).routes if isinstance(route, Route) and isinstance(route.app, Relay)]
    levels = {route.path: route.app.level for route in relays if isinstance(route.app, Relay)}
    assert {path: levels[path] for path in PAGES} == PAGES


@pytest.mark.parametrize("role", Role)
def test_who_may_not_see_models_does_not_get_to_their_page(up: Served, client: TestClient, role: Role) -> None:
    headers = showing(up.database, NAMES[role], "token")
    expected = 0 if role in ALLOWED[PAGES["/models"], "read"] else 403
    assert refused(client, "GET", "/models", headers) == expected
    assert refused(client, "GET", "/models", {}) == 401
    with up.database.begin() as session:
        told = session.scalars(text("SELECT detail FROM people_events WHERE detail LIKE '%/models%'")).all()
    assert list(told) == (["GET /models: needs engineer, is operator"] if expected else [])


def refused(client: TestClient, method: str, path: str, headers: dict[str, str]) -> int:
    """401 or 403 when that is the answer, else 0."""
    answer = client.request(method, path, headers=headers, json={} if method != "GET" else None)
    is_wrong_password = path == "/sign-in" and method == "POST"
    return answer.status_code if answer.status_code in (401, 403) and not is_wrong_password else 0


@pytest.mark.parametrize("way", ENTITLED)
@pytest.mark.parametrize("role", Role)
def test_every_role_may_do_on_every_route_what_it_may_and_nothing_else(
    up: Served, client: TestClient, role: Role, way: str
) -> None:
    for method, path, level in asked_for(up):
        kind = "read" if method == "GET" else "write"
        expected = 0 if role in ALLOWED[level, kind] else 403
        headers = showing(up.database, NAMES[role], way)
        assert refused(client, method, path, headers) == expected, f"{role} {method} {path} by {way}"


@pytest.mark.parametrize("way", STALE)
def test_what_was_good_once_is_good_no_more(up: Served, client: TestClient, way: str) -> None:
    headers = showing(up.database, NAMES[Role.ADMIN], way)
    for method, path, level in asked_for(up):
        assert refused(client, method, path, headers) == (0 if level == "anybody" else 401), f"{method} {path}"


def test_who_has_not_signed_in_reaches_the_open_routes_alone(up: Served, client: TestClient) -> None:
    reached = {path for method, path, _ in asked_for(up) if not refused(client, method, path, {})}
    assert reached == OPEN
    answer = client.get("/api/v1/parts")
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")


def test_operators_do_not_see_models_in_the_metrics_and_auditors_tell_no_part(up: Served, client: TestClient) -> None:
    operator = showing(up.database, NAMES[Role.OPERATOR], "token")
    auditor = showing(up.database, NAMES[Role.AUDITOR], "token")
    assert client.get("/metrics", headers=operator).status_code == 403
    assert client.post(TRIGGER, json={}, headers=operator).status_code == 202
    assert client.get("/metrics", headers=auditor).status_code == 200
    refusal = client.post(TRIGGER, json={}, headers=auditor)
    assert refusal.status_code == 403 and refusal.headers["content-type"] == "application/problem+json"
    assert refusal.json()["detail"] == "aude is auditor; this needs another role: operator"


def test_the_metrics_are_open_when_the_settings_say_so(plant: Plant, log: EventLog, tmp_path: Path) -> None:
    up = Served(plant, log, tmp_path, "\n[server]\nopen_metrics = true\n", is_demo=False)
    assert browser(up).get("/metrics").status_code == 200
    assert browser(up).get("/api/v1/status").status_code == 401


def test_a_route_that_does_not_say_whom_it_is_for_is_found(up: Served) -> None:
    app = web_app(up)
    assert list(undeclared(app.routes)) == []

    @app.get("/secret")
    def secret() -> str:
        return "nobody said who may read this"

    assert list(undeclared(app.routes)) == ["/secret"]


def test_the_description_says_how_a_program_shows_who_it_is(client: TestClient) -> None:
    told = client.get("/openapi.json").json()
    (scheme,) = told["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert told["paths"]["/api/v1/parts"]["get"]["security"] and "security" not in told["paths"]["/healthz"]["get"]


def test_a_wrong_token_is_not_made_good_by_a_cookie(up: Served, client: TestClient) -> None:
    headers = showing(up.database, NAMES[Role.ADMIN], "session") | {"Authorization": "Bearer nonsense"}
    assert client.get("/api/v1/parts", headers=headers).status_code == 401


def test_whoever_may_read_the_state_folder_is_let_in(client: TestClient) -> None:
    headers = {"Authorization": f"Bearer {Served.console_token}"}
    assert client.get("/api/v1/session", headers=headers).json()["way"] == "console"
    assert client.post(TRIGGER, json={}, headers=headers).status_code == 202


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://192.0.2.1:9000"}, 403),
        ({"Origin": "http://192.0.2.1:8000.evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://192.0.2.1:8000"}, 403),
        ({"Origin": "http://192.0.2.1:8000"}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({}, 202),
    ],
)
def test_what_a_page_of_another_site_sends_with_our_cookie_is_refused(
    up: Served, client: TestClient, headers: dict[str, str], status: int
) -> None:
    cookie = showing(up.database, NAMES[Role.OPERATOR], "session")
    assert client.post(TRIGGER, json={}, headers=cookie | headers).status_code == status
    token = showing(up.database, NAMES[Role.OPERATOR], "token")
    assert client.post(TRIGGER, json={}, headers=token | headers).status_code == 202, (
        "no browser sends a token by itself"
    )


def test_another_site_can_neither_sign_anybody_in_nor_out(up: Served, client: TestClient) -> None:
    for method, path in (("POST", "/api/v1/session"), ("DELETE", "/api/v1/session"), ("POST", "/sign-in")):
        assert client.request(method, path, headers={"Origin": "http://evil.example"}).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/any", headers={"Origin": "http://evil.example"}),
    ):
        pass


def demo(plant: Plant, log: EventLog, folder: Path, host: str = "127.0.0.1", is_demo: bool = True) -> Served:
    return Served(plant, log, folder, f'\n[server]\nhost = "{host}"\n', is_demo)


def test_the_demo_line_lets_in_who_is_at_its_machine_and_says_so(plant: Plant, log: EventLog, tmp_path: Path) -> None:
    for host, address, url in (
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:8000"),
        ("localhost", "127.0.0.1", "http://localhost:8000"),
        ("::1", "::1", "http://[::1]:8000"),
    ):
        me = browser(demo(plant, log, tmp_path, host), address, url).get("/api/v1/session").json()
        assert (me["name"], me["role"], me["way"]) == ("demo", "admin", "demo")
        assert "signs in by itself" in me["says"]


@pytest.mark.parametrize(
    ("host", "is_demo", "headers"),
    [
        ("0.0.0.0", True, {}),
        ("::", True, {}),
        ("192.0.2.1", True, {}),
        ("127.0.0.1", False, {}),
        ("127.0.0.1", True, {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", True, {"Forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", True, {"X-Real-IP": "127.0.0.1"}),
        ("127.0.0.1", True, {"Via": "1.1 proxy"}),
        ("127.0.0.1", True, {"Host": "192.0.2.1"}),
        ("127.0.0.1", True, {"Authorization": "Bearer wrong"}),
    ],
)
def test_nothing_else_signs_in_by_itself(
    plant: Plant, log: EventLog, tmp_path: Path, host: str, is_demo: bool, headers: dict[str, str]
) -> None:
    client = browser(demo(plant, log, tmp_path, host, is_demo))
    for path in ("/api/v1/session", "/api/v1/parts"):
        assert client.get(path, headers=headers).status_code == 401


def test_a_machine_elsewhere_is_not_this_one(plant: Plant, log: EventLog, tmp_path: Path) -> None:
    client = browser(demo(plant, log, tmp_path), "192.0.2.7")
    assert client.get("/api/v1/parts").status_code == 401


def test_another_site_cannot_use_that_the_demo_line_signs_in_by_itself(
    plant: Plant, log: EventLog, tmp_path: Path
) -> None:
    client = browser(demo(plant, log, tmp_path))
    assert client.post(TRIGGER, json={}).status_code == 202
    assert client.post(TRIGGER, json={}, headers={"Origin": "http://evil.example"}).status_code == 403
    # Its own name pointed to 127.0.0.1: to the browser all of this is one site.
    rebound = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000", "Sec-Fetch-Site": "same-origin"}
    for method, path in (("GET", "/api/v1/parts"), ("POST", TRIGGER), ("GET", "/healthz")):
        answer = client.request(method, path, headers=rebound)
        assert answer.status_code == 421 and "server.allowed_hosts" in answer.json()["detail"]


def test_a_name_the_settings_allow_is_this_servers(plant: Plant, log: EventLog, tmp_path: Path) -> None:
    up = Served(plant, log, tmp_path, '\n[server]\nallowed_hosts = ["Inspection.plant.example"]\n')
    assert browser(up).get("/healthz", headers={"Host": "inspection.plant.example:8000"}).status_code == 200
    assert browser(up).get("/healthz", headers={"Host": "inspection.plant.example.evil.example"}).status_code == 421
    assert browser(up).get("/healthz", headers={"Host": ""}).status_code == 421


def test_every_answer_tells_the_browser_to_be_careful(up: Served, client: TestClient) -> None:
    for path in ("/healthz", "/api/v1/parts", "/sign-in", "/nowhere", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
    assert client.get("/healthz", headers={"Host": "evil.example"}).headers["x-content-type-options"] == "nosniff"

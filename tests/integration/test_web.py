"""The web port on a real database and log: every route, and every wrong way to ask."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cli.display import Display
from cli.status import dead_words, running_in_words
from orchestrator.configuration import load_settings
from orchestrator.line import Line
from orchestrator.supervisor import WorkerHealth
from orchestrator.web import BODY_BYTES, web_app
from storage import audit, records
from storage.database import Database
from storage.events import InspectionCompleted, PartTriggered
from storage.stream import EventLog
from tests.facts import MODEL, RECIPE, STATION, Plant
from tests.integration.described import Described
from tests.integration.served import FACTS, Served, browser
from workers.recorder import completed

CAMERA = f"camera {STATION}/top"
PATIENCE_SECONDS = 60.0
PROBLEM = "application/problem+json"


@pytest.fixture
def up(plant: Plant, log: EventLog, tmp_path: Path) -> Served:
    return Served(plant, log, tmp_path)


@pytest.fixture
def client(up: Served) -> Iterator[TestClient]:
    """A browser at the machine of the demo line."""
    with browser(up) as client:
        yield client


def record(up: Served, **facts: Any) -> str:
    event = up.plant.decided(up.plant.captured(up.plant.trigger(**facts)))
    with up.database.begin() as session:
        records.record_verdicts(session, [event])
    return str(event.trigger.inspection_id)


def test_the_process_lives_and_says_which_code_it_is(client: TestClient) -> None:
    assert client.get("/healthz").json() == client.get("/health").json() == {"status": "alive"}
    assert client.get("/version").json()["version"]


def test_readiness_is_told_check_by_check(client: TestClient, up: Served) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert set(answer.json()["checks"]) == {"postgres", "disk", f"capture-{STATION}", "model", "cameras", CAMERA}
    up.worker = WorkerHealth("record", "record", state="held", detail="no room")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["record"] == {"ok": False, "detail": "held: no room"}
    assert answer.json()["checks"]["model"]["ok"] is False


def test_a_lost_camera_is_told_and_a_line_without_any_is_not_ready(client: TestClient, up: Served) -> None:
    lost = {"state": "lost", "since": "2026-11-26 03:00:00.123+00:00", "last_error": "cable pulled"}
    good = {**FACTS, "cameras": {"top": {"state": "up"}, "side": lost}, "trigger_trouble": "incoming: gone"}
    up.worker = WorkerHealth(f"capture-{STATION}", "capture", pid=1, state="running", facts=good)
    answer = client.get("/readyz")
    assert answer.status_code == 200 and answer.json()["state"] == "degraded"
    checks = answer.json()["checks"]
    side = f"camera {STATION}/side"
    assert checks[side] == {"ok": False, "detail": "lost since 2026-11-26 03:00:00: cable pulled"}
    assert checks[f"trigger {STATION}"] == {"ok": False, "detail": "incoming: gone"}
    assert checks["cameras"] == {"ok": True, "detail": "1 of 2 up"}
    words = "\n".join(running_in_words({**client.get("/api/v1/status").json(), "url": "here"}))
    assert f"{side}: lost since" in words and f"trigger {STATION}: incoming: gone" in words
    assert up_by_camera(client) == {"top": 1.0, "side": 0.0}

    up.worker = replace(up.worker, state="silent", detail="no answer for 9 s")
    answer = client.get("/readyz")
    assert answer.status_code == 503 and answer.json()["checks"]["cameras"] == {"ok": False, "detail": "0 of 2 up"}
    assert answer.json()["checks"][CAMERA]["detail"] == f"unknown: capture-{STATION} is silent"
    assert up_by_camera(client) == {"top": 0.0, "side": 0.0}


def test_what_waits_for_people_is_shown_and_holds_nothing_up(client: TestClient, up: Served, tmp_path: Path) -> None:
    key = up.log.key(PartTriggered, STATION)
    up.log.create_group([key], "capture")
    up.log.trigger(up.plant.trigger(0))
    for entry in up.log.read("capture", "c", [key], 1, 10):
        up.log.set_aside(entry, "capture", "poisoned")
    event = up.plant.decided(score=0.5)
    with up.database.begin() as session:
        records.record_verdicts(session, [event])
    with up.glance.looking():
        wait_until(lambda: up.glance.queue is not None)
    readiness = client.get("/readyz")
    assert readiness.status_code == 200 and readiness.json()["dead_letters"] == 1
    words = list(running_in_words({**client.get("/api/v1/status").json(), "url": "here"}))
    told = ["queue: 1 open, 0 being decided, 0 overdue", dead_words(1)]
    assert [line for line in words if line.startswith(("queue", "dead"))] == told
    console = Console(file=io.StringIO(), width=200)
    display = Display(load_settings(None, {"ADLINE_HOME": str(tmp_path)}), parts=0)
    display.up = cast(Line, ShownLine(up))
    console.print(display)
    assert all(line in console.file.getvalue() for line in told)  # type: ignore[attr-defined]  # a StringIO
    up.log = up.glance.log = EventLog("unix:///nowhere/valkey.sock")
    up.database = Database("postgresql://u:secret@127.0.0.1:1/x")
    up.glance.look()
    assert (up.glance.queue, up.glance.dead_letters) == (None, None)


class ShownLine:
    """As the terminal sees a line."""

    signs_in_by_itself = False

    def __init__(self, up: Served) -> None:
        self.health = up.health


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def up_by_camera(client: TestClient) -> dict[str, float]:
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    return {sample.labels["camera"]: sample.value for sample in families["adline_camera_up"].samples}


def test_the_metrics_can_be_read_by_prometheus(client: TestClient, up: Served) -> None:
    up.tally.follow(up.log)
    up.log.publish(*(completed(up.plant.decided(score=score)) for score in (0.1, 0.5, 0.9)))
    up.tally.follow(up.log)
    up.log.create_group([up.log.key(InspectionCompleted)], "outputs")
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    parts = {sample.labels["verdict"]: sample.value for sample in families["adline_parts"].samples}
    assert parts == {"OK": 1, "REVIEW": 1, "NG": 1}
    assert {sample.labels["recipe"] for sample in families["adline_parts"].samples} == {RECIPE}
    buckets = [s.value for s in families["adline_stage_latency_seconds"].samples if s.labels.get("le") == "+Inf"]
    assert buckets and all(value == 3 for value in buckets)
    for name in ("adline_camera_up", "adline_triggers", "adline_frames", "adline_stream_pending", "adline_stream_lag"):
        assert families[name].samples, name
    for name in ("adline_stream_dead_total", "adline_queue_open", "adline_queue_oldest_seconds", "adline_ready"):
        assert families[name].samples, name
    assert families["adline_model_info"].samples[0].labels["version"] == MODEL
    storage = {sample.labels["state"]: sample.value for sample in families["adline_storage_bytes"].samples}
    assert storage["free"] > 0 and storage["used"] > 0
    assert not families["adline_false_reject_ratio"].samples, "nobody has decided a rejected part"


def test_the_status_is_what_the_command_shows(client: TestClient) -> None:
    status = client.get("/api/v1/status").json()
    assert (status["line"], status["state"], status["parts"]) == ("line-1", "running", 0)


def test_parts_are_listed_newest_first_and_page_by_page(client: TestClient, up: Served) -> None:
    ids = sorted((record(up, part_id=f"A{number}") for number in range(3)), reverse=True)
    listed = client.get("/api/v1/parts", params={"limit": 2}).json()
    assert [part["inspection_id"] for part in listed] == ids[:2]
    rest = client.get("/api/v1/parts", params={"before": ids[1]}).json()
    assert [part["inspection_id"] for part in rest] == ids[2:]


def test_a_part_is_found_by_its_name_and_by_its_inspection(client: TestClient, up: Served) -> None:
    inspection_id = record(up, part_id="A 1/ö")
    record(up, part_id="B2")
    assert client.get("/api/v1/parts/B2").json()[0]["verdict"] == "OK"
    assert client.get(f"/api/v1/parts/{inspection_id}").json()[0]["part_id"] == "A 1/ö"


def test_the_description_names_every_fact_of_status_and_parts_and_no_more_than_is_told(
    client: TestClient, up: Served
) -> None:
    record(up, part_id="A1")
    up.tally.follow(up.log)
    up.log.publish(completed(up.plant.decided(score=0.1)))
    up.tally.follow(up.log)
    openapi = client.get("/openapi.json").json()
    described = Described(openapi)
    with up.database.begin() as session:
        rows = (audit.newest(session, 1)[0], audit.part(session, "A1")[0])
    shown = up.health().shown() | {"queue": {}}
    for path, facts in zip(("status", "parts", "parts/A1"), (shown, *rows), strict=True):
        answer = client.get(f"/api/v1/{path}")
        described.check(answer)
        (told,) = answer.json() if path != "status" else [answer.json()]
        assert told.keys() == facts.keys(), path
    for name in ("LineStatus", "PartListed", "PartView", "PartLife"):
        assert openapi["components"]["schemas"][name]["properties"]


def test_a_trigger_is_told_with_its_number_and_the_stations_product(client: TestClient, up: Served) -> None:
    up.settings = up.settings.model_copy(
        update={"stations": (up.settings.stations[0].model_copy(update={"product": "bracket"}),)}
    )
    answer = client.post(f"/api/v1/stations/{STATION}/trigger", json={"part_id": "A1", "lot": "L"})
    assert answer.status_code == 202
    assert (answer.json()["trigger_number"], answer.json()["product"]) == (1, "bracket")
    key = up.log.key(PartTriggered, STATION)
    up.log.create_group([key], "capture")
    (entry,) = up.log.read("capture", "c", [key], 10, 10)
    assert json.loads(entry.event.trigger.model_dump_json()) == answer.json()  # type: ignore[attr-defined]  # a trigger


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/parts/unknown", 404),
        ("GET", "/api/v1/parts/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/api/v1/parts/%00", 422),
        ("GET", "/api/v1/parts/" + "x" * 201, 422),
        ("GET", "/api/v1/parts?limit=0", 422),
        ("GET", "/api/v1/parts?limit=99999999999999999999999", 422),
        ("GET", "/api/v1/parts?before=yesterday", 422),
        ("POST", "/healthz", 405),
        ("GET", f"/api/v1/stations/{STATION}/trigger", 405),
        ("POST", "/api/v1/stations/nowhere/trigger", 404),
        ("POST", "/api/v1/stations/%00/trigger", 404),
    ],
)
def test_what_is_refused_is_refused_in_one_shape(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == status and answer.json()["title"] and answer.json()["detail"]
    assert status != 405 or answer.headers["allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"part_id": 7}',
        b'{"part_id": ""}',
        b'{"part_id": "a\\u0000b"}',
        b'{"part_id": "\\ud800"}',
        b'{"part_id": "a\\nb"}',
        b'{"serial": "A1"}',
        b'{"part_id": "' + b"x" * 201 + b'"}',
        b"\xff\xfe",
        b"[" * 50_000,
    ],
)
def test_a_trigger_that_is_not_as_described_is_not_told(client: TestClient, up: Served, body: bytes) -> None:
    answer = client.post(
        f"/api/v1/stations/{STATION}/trigger", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422) and answer.headers["content-type"] == PROBLEM
    assert up.log.client.xlen(up.log.key(PartTriggered, STATION)) == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_a_huge_body_is_refused_before_it_is_read(client: TestClient, streamed: bool) -> None:
    sent = []

    def chunks() -> Iterator[bytes]:
        for _ in range(1000):
            sent.append(BODY_BYTES)
            yield b" " * BODY_BYTES

    content = chunks() if streamed else b" " * (BODY_BYTES + 1)
    answer = client.post(f"/api/v1/stations/{STATION}/trigger", content=content)
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)


def test_a_database_that_is_away_is_said_and_the_health_still_answers(client: TestClient, up: Served) -> None:
    up.database = Database("postgresql://u:secret@127.0.0.1:1/x")
    up.log = EventLog("unix:///nowhere/valkey.sock")
    for method, path in (
        ("GET", "/api/v1/parts"),
        ("GET", "/api/v1/parts/A1"),
        ("POST", f"/api/v1/stations/{STATION}/trigger"),
    ):
        answer = client.request(method, path, json={} if method == "POST" else None)
        assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
        assert "secret" not in answer.text
    metrics = client.get("/metrics")
    assert metrics.status_code == 200 and "adline_stream_lag" not in metrics.text
    assert client.get("/healthz").status_code == 200


def test_an_unforeseen_error_is_logged_and_not_shown(client: TestClient, up: Served) -> None:
    up.tally = None  # type: ignore[assignment]  # nothing can be shown now
    answer = client.get("/api/v1/status")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "NoneType" not in answer.json()["detail"]


def test_no_request_the_description_allows_is_a_server_error(up: Served) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", web_app(up), headers={"Host": "127.0.0.1"})
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    operations = [one for one in operations if one.path != "/api/v1/events"]  # goes on for as long as it is asked to
    assert len(operations) >= 10
    for operation in operations:
        ask_as_described(operation)


CHECKS = [not_a_server_error, content_type_conformance, status_code_conformance, response_schema_conformance]


def ask_as_described(operation: Any) -> None:
    @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(
            headers={"Host": "127.0.0.1", "Authorization": f"Bearer {Served.console_token}"},
            checks=CHECKS,
        )

    ask()

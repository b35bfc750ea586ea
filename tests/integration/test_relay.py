"""The way from the web port to the pages' worker, which is a process of its own here, too."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from orchestrator.folders import pages_socket
from orchestrator.relay import PERSON_HEADER
from storage.people_rows import Role
from storage.stream import EventLog
from tests.acceptance.command import wait_until
from tests.facts import Plant
from tests.integration.served import Served, browser
from tests.integration.staff import NAMES, hire, showing
from workers.labeling.worker import PagesWorker

OWN_NAME = {"host": "127.0.0.1"}  # the test client would say another one
SOCKET_IO = "/_nicegui_ws/socket.io/?client_id=nobody&next_message_id=0&EIO=4&transport=websocket"


def serve(home: Path, database_url: str) -> None:
    worker = PagesWorker(socket_path=pages_socket(home), database_url=database_url, line="line-1")
    worker.run(threading.Event())


@pytest.fixture
def up(plant: Plant, log: EventLog, tmp_path: Path) -> Served:
    return Served(plant, log, tmp_path)


@pytest.fixture
def worker(up: Served) -> Iterator[multiprocessing.process.BaseProcess]:
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(up.home, up.database.url))
    process.start()
    yield process
    process.kill()
    process.join()


@pytest.fixture
def client(up: Served, worker: object) -> TestClient:
    client = browser(up)
    wait_until(lambda: client.get("/queue").status_code == 200, "the pages are served")
    return client


def test_a_page_is_served_with_who_is_signed_in(client: TestClient) -> None:
    answer = client.get("/queue")
    assert answer.headers["content-type"].startswith("text/html") and "Demo line" in answer.text
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert client.get("/", follow_redirects=False).headers["location"] == "/queue"


@pytest.mark.parametrize("role", Role)
def test_the_page_of_the_models_and_the_way_to_it_are_for_those_who_may_see_models(
    up: Served, client: TestClient, role: Role
) -> None:
    hire(up.database)
    headers = showing(up.database, NAMES[role], "token")
    sees = role is not Role.OPERATOR
    assert client.get("/models", headers=headers).status_code == (200 if sees else 403)
    assert ("/models" in client.get("/queue", headers=headers).text) is sees
    assert "/line" in client.get("/queue", headers=headers).text


def test_nobody_can_say_from_outside_who_they_are(up: Served, client: TestClient) -> None:
    forged = {PERSON_HEADER: '{"name": "mallory", "role": "admin", "way": "session"}'}
    assert "mallory" not in client.get("/queue", headers=forged).text
    assert browser(up, "192.0.2.1").get("/queue", headers=forged).status_code == 401
    assert "Demo line" in client.get("/queue", headers={PERSON_HEADER: "no JSON"}).text


def test_what_is_asked_for_comes_as_it_was_asked_for(client: TestClient) -> None:
    plain = client.get("/pages/style.css", headers={"accept-encoding": "identity"})
    assert plain.status_code == 200 and "content-encoding" not in plain.headers
    assert client.get("/pages/style.css", headers={"if-none-match": plain.headers["etag"]}).status_code == 304
    assert client.get("/pages/../worker.py").status_code == 404
    assert client.get("/pages/%2e%2e/worker.py").status_code == 404


def test_an_api_path_nobody_knows_does_not_reach_the_pages(client: TestClient) -> None:
    answer = client.get("/api/v1/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_websocket_is_opened_for_who_is_signed_in_alone(up: Served, client: TestClient) -> None:
    with client.websocket_connect(SOCKET_IO, headers=OWN_NAME) as connection:
        assert connection.receive_text().startswith("0{"), "socket.io's first word"
    stranger = browser(up, "192.0.2.1")
    with pytest.raises(WebSocketDisconnect), stranger.websocket_connect(SOCKET_IO, headers=OWN_NAME):
        pass


def test_when_the_worker_is_away_its_pages_say_so_and_come_back(
    up: Served, client: TestClient, worker: multiprocessing.process.BaseProcess
) -> None:
    worker.kill()
    worker.join()
    answer = client.get("/queue")
    assert answer.status_code == 503 and 'http-equiv="refresh"' in answer.text
    assert client.get("/healthz").status_code == 200, "the line's own answers do not depend on it"
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET_IO, headers=OWN_NAME):
        pass
    again = multiprocessing.get_context("spawn").Process(target=serve, args=(up.home, up.database.url))
    again.start()
    try:
        wait_until(lambda: client.get("/queue").status_code == 200, "another worker serves the pages")
    finally:
        again.kill()
        again.join()

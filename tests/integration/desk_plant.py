"""A served line whose parts and leases a test decides, and a real Chromium to look at its pages with."""

from __future__ import annotations

import multiprocessing
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import cv2
import numpy as np

from orchestrator.chromium import Page, chromium
from orchestrator.postgres import OWNER, SUPERUSER, EmbeddedPostgres
from orchestrator.valkey import EmbeddedValkey
from orchestrator.web import listen, serve
from storage import records
from storage.database import Database
from storage.events import ReviewReason
from storage.images import ImageStore, describe
from storage.stream import EventLog
from tests import facts
from tests.acceptance.command import wait_until
from tests.conftest import execute
from tests.facts import frame, picture, prediction
from tests.integration.served import Served, browser
from tests.integration.staff import hire
from tests.integration.test_relay import serve as serve_pages

SHOWN = "document.querySelector('.desk')?.dataset.review"
CARD = "window.adlineDesk.card"
NOTICE = "document.querySelector('.notice')"
WIDTH, HEIGHT = 64, 48


class Plant:
    """A served line, and a browser to look at it with."""

    def __init__(self, up: Served, url: str, page: Page) -> None:
        self.up, self.url, self.page, self.shade = up, url, page, 0
        self.client, self.store = browser(up), ImageStore(up.images)

    def put(
        self, *cameras: str, data: bytes = b"", look: tuple[float, ...] = (), map_level: float = 0.0, **facts: Any
    ) -> str:
        """A part under review; its review's id. With a map level, the model sees a defect in the middle."""
        frames, seen = [], []
        for place, camera in enumerate(cameras or ("top",)):
            self.shade += 1
            image = data or picture(self.shade % 256, WIDTH, HEIGHT)
            stored, told = self.store.put(image, ".tif" if data else ".png"), describe(image)
            size = {"width": told.width, "height": told.height, "media_type": told.media_type}
            frames.append(frame(camera=camera, data=image, sha256=stored.sha256, **size))
            one = prediction(frames[-1], 0.5 + place / 100)
            told_of_it: dict[str, Any] = {"embedding": struct.pack(f"<{len(look)}f", *look) if look else None}
            told_of_it |= {"map_sha256": self.map(map_level)} if map_level else {}
            seen.append(one.model_copy(update=told_of_it))
        captured = self.up.plant.captured(self.up.plant.trigger(**facts), *frames)
        event = self.up.plant.decided(captured, 0.5, predictions=tuple(seen), review_reason=ReviewReason.UNCERTAIN)
        with self.up.database.begin() as session:
            records.record_verdicts(session, [event])
        return self.review_of(event.trigger.inspection_id)

    def map(self, level: float) -> str:
        """An anomaly map that is high in the middle; its SHA-256."""
        levels = np.zeros((HEIGHT // 4, WIDTH // 4), np.uint16)
        levels[3:9, 4:12] = round(65535 * level)
        return self.store.put(cv2.imencode(".png", levels)[1].tobytes(), ".png").sha256

    def first(self, review: str) -> str:
        """Have this one offered before the others."""
        self.sql(f"UPDATE reviews SET margin = -1 WHERE id = '{review}'")
        return review

    def review_of(self, inspection_id: UUID) -> str:
        return next(
            str(one["review_id"])
            for one in self.get("reviews?limit=1000")
            if one["inspection_id"] == str(inspection_id)
        )

    def get(self, path: str) -> Any:
        answer = self.client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def labels(self, review: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"reviews/{review}")["labels"]
        return found

    def sql(self, statement: str) -> None:
        execute(self.up.database.url, statement)

    def open(self, path: str = "queue") -> Page:
        self.page.open(f"{self.url}/{path}")
        return self.page

    def show(self, review: str) -> Page:
        self.open()
        self.page.wait(f"{SHOWN} === '{review}' && {CARD}.shownAt")
        return self.page

    def settled(self) -> None:
        self.page.wait("document.querySelector('#bar-status').dataset.waiting === '0'")

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the frame is on the screen."""
        script = f"""(() => {{ const box = document.querySelector("canvas").getBoundingClientRect();
            const at = window.adlinePicture.view.toScreen({{ x: {x}, y: {y} }});
            return [at.x + box.left, at.y + box.top]; }})()"""
        found: list[float] = self.page.run(script)
        return found[0], found[1]

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        told = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        self.page.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=told)


@contextmanager
def serving(
    postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey, template: str, folder: Path, name: str
) -> Iterator[Plant]:
    """One line and one browser for all the tests of a file."""
    administrator = postgres_server.url("postgres", SUPERUSER)
    execute(administrator, f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template}")
    database, log = Database(postgres_server.url(name)), EventLog(valkey_server.url)
    hire(database)
    up = Served(facts.plant(database), log, folder)
    worker = multiprocessing.get_context("spawn").Process(target=serve_pages, args=(up.home, database.url))
    worker.start()
    try:
        with listen("127.0.0.1", 0) as port, serve(up, port), chromium() as page:
            page.size(1280, 800)
            plant = Plant(up, f"http://127.0.0.1:{port.getsockname()[1]}", page)
            wait_until(lambda: plant.client.get("/queue").status_code == 200, "the pages are served")
            yield plant
    finally:
        worker.kill()
        worker.join()
        log.close()
        database.close()
        execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def emptied(served: Plant) -> Iterator[Plant]:
    """Nothing is left to decide of earlier tests, and the browser knows nothing of them."""
    served.open("pages/icon.svg")
    served.page.wait("location.pathname === '/pages/icon.svg'")
    served.page.run("sessionStorage.clear()")
    served.sql("UPDATE reviews SET holder = NULL, free_at = 'infinity' WHERE state = 'open'")
    served.sql("DELETE FROM queue_filters")
    served.page.send_headers({})
    served.page.complaints.clear()
    yield served
    # A refusal is what some tests are about; the browser complains of each.
    assert [one for one in served.page.complaints if "Failed to load resource" not in one] == []

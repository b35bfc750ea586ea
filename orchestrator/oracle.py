"""An operator who knows the experts' labels: answers the queue of the demo line as a person does, by key and by API.

It sees what a person sees, by the same routes and with the rights of an operator; it knows a cell by its image.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from orchestrator.running import url_of
from orchestrator.settings import Settings
from orchestrator.users import add_token, console
from storage import people
from storage.database import Database
from storage.errors import SettingsError
from storage.people_rows import Role
from workers.elpv import cells_by_image

logger = logging.getLogger(__name__)

NAME: Final = "oracle"
THINK_SECONDS: Final = (0.01, 0.06)  # it need not look: it keeps up with the line
IDLE_SECONDS: Final = 0.3
ANSWER_SECONDS: Final = 10.0
DEFECT: Final = "crack"  # what the experts looked for
WISH: Final = {"station": None, "product": None, "policy": "oldest"}

Answer = dict[str, Any]


def experts() -> dict[str, float]:
    """What the experts said of each image: the probability of a defect, by the SHA-256 of its file."""
    return {sha256: cell.probability for sha256, cell in cells_by_image().items()}


def decision(probability: float | None, has_class: bool) -> Answer:
    """As the experts would decide; of an image they have not graded nobody can tell."""
    if probability == 0:
        return {"decision": "normal"}
    if probability == 1:
        return {"decision": "anomaly", "defects": [DEFECT] if has_class else []}
    note = "the experts do not know this image" if probability is None else f"the experts: {probability:.2f}"
    return {"decision": "cannot_tell", "note": note}


class Oracle:
    """Claims, looks, decides, until told to stop."""

    def __init__(self, url: str, token: str, known: Mapping[str, float], seed: int, stop: threading.Event) -> None:
        self.place, self.known, self.luck, self.stop = urlsplit(url).netloc, known, Random(seed), stop
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self.connection = self.connected()
        self.decided: Counter[str] = Counter()
        self.refused = 0

    def connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.place, timeout=ANSWER_SECONDS)

    def work(self) -> None:
        book = self.ask("GET", "/api/v1/defects") or []
        has_class = any(entry["name"] == DEFECT and not entry["retired"] for entry in book)
        while not self.stop.is_set():
            claimed = self.ask("POST", "/api/v1/reviews/claim", WISH)
            if claimed and claimed["reviews"]:
                self.decide(claimed["reviews"][0], has_class)
            else:
                self.stop.wait(IDLE_SECONDS)
        self.connection.close()

    def decide(self, lease: Answer, has_class: bool) -> None:
        shown = self.ask("GET", f"/api/v1/reviews/{lease['review_id']}")
        if shown is None:
            return
        began = time.monotonic()
        resolution = decision(self.worst(shown["views"]), has_class)
        self.stop.wait(self.luck.uniform(*THINK_SECONDS))
        resolution["took_milliseconds"] = round(1000 * (time.monotonic() - began))
        body = {"token": lease["token"], "resolution": resolution}
        if self.ask("POST", f"/api/v1/reviews/{lease['review_id']}/resolve", body):
            self.decided[resolution["decision"]] += 1

    def worst(self, views: Sequence[Answer]) -> float | None:
        graded = [self.known[view["sha256"]] for view in views if view["sha256"] in self.known]
        return max(graded) if graded and len(graded) == len(views) else None

    def ask(self, method: str, path: str, body: Answer | None = None) -> Any:
        """The answer; None when it was refused or none came: a claimed part then returns by itself."""
        try:
            self.connection.request(method, path, json.dumps(body) if body else None, self.headers)
            answer = self.connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            logger.warning("%s %s: %s", method, path, error)
            self.connection.close()
            self.connection = self.connected()
            self.stop.wait(IDLE_SECONDS)
            return None
        if answer.status >= 400:
            self.refused += 1
            logger.warning("%s %s: %d %s", method, path, answer.status, data[:500].decode(errors="replace"))
            self.stop.wait(IDLE_SECONDS)
            return None
        return json.loads(data)


@contextmanager
def oracle_at_work(database: Database, settings: Settings) -> Iterator[Oracle]:
    """An operator of that name with a token, in a thread, for as long as the block runs."""
    known, stop, seed = experts(), threading.Event(), min(recipe.seed for recipe in settings.recipes.values())
    url = url_of(settings.server.host, settings.server.port)
    with database.begin() as session:
        if people.find(session, NAME) is None:
            people.add(session, NAME, Role.OPERATOR, console(), None)
        token = add_token(session, NAME, "adline start --oracle", 1)
    oracle = Oracle(url, token, known, seed, stop)
    thread = threading.Thread(target=oracle.work, name="oracle", daemon=True)
    thread.start()
    try:
        yield oracle
    finally:
        stop.set()
        thread.join(ANSWER_SECONDS)
        with database.begin() as session:
            people.remove(session, NAME, console())


def refuse_strangers(settings: Settings) -> None:
    """The experts graded ELPV's images and no others."""
    others = [
        f"stations.{number}.cameras.{place}.kind"
        for number, station in enumerate(settings.stations)
        for place, camera in enumerate(station.cameras)
        if camera.kind != "elpv"
    ]
    if others:
        raise SettingsError([f"{path}: --oracle knows the labels of ELPV's images; allowed: elpv" for path in others])


def demo_settings(settings: Settings) -> dict[str, Any]:
    """What the demo line is told beside its own settings: all of its parts are decided, and learned from once the
    camera has shown each cell.

    Fewer cells than usual are taught: the camera shows the others, and the pool needs good ones, too. The experts are
    believed, also where their label is unlike those of similar cells. The seed decides which cells are protected; the
    README tells what came of others.
    """
    asked = {"sample_rate": 1.0, "ng_sample_rate": 1.0, "teach.count": 120, "seed": 1}
    retrain = {"retrain.after_labels": 900, "retrain.test_share": 0.22, "retrain.doubt": 0.1}
    return {
        f"recipes.{name}.{key}": value for name in settings.used_recipes for key, value in (asked | retrain).items()
    }

"""A line as the web port sees it: real database and log, workers as told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

from fastapi.testclient import TestClient

from orchestrator.counting import Counting
from orchestrator.glance import Glance
from orchestrator.health import LineHealth, disk_health
from orchestrator.monitor import ServiceState
from orchestrator.supervisor import WorkerHealth
from orchestrator.tally import Tally
from orchestrator.web import web_app
from storage.stream import EventLog
from tests.facts import MODEL, RECIPE, STATION, Plant
from tests.unit.configuration_files import STATION as STATION_FILE
from tests.unit.configuration_files import load

FACTS = {
    "models": {RECIPE: MODEL},
    "cameras": {"top": {"state": "up"}},
    "triggers": {"top": {"triggers": 2, "frames": 1}},
}


class Served:
    """A line as the web port sees it: real database and log, workers as told."""

    console_token = "known to whoever may read the state folder"

    def __init__(self, plant: Plant, log: EventLog, folder: Path, settings: str = "", is_demo: bool = True) -> None:
        self.settings, self.is_demo = load(folder, STATION_FILE + settings).settings, is_demo
        self.plant, self.database, self.log, self.tally, self.folder = plant, plant.database, log, Tally(), folder
        self.glance = Glance(self.log, Counting(lambda: self.database, timedelta(hours=8)))
        self.worker = WorkerHealth(f"capture-{STATION}", "capture", pid=1, state="running", facts=FACTS)

    @property
    def home(self) -> Path:
        return self.folder

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def run_id(self) -> UUID:
        return self.plant.run_id

    def health(self) -> LineHealth:
        return LineHealth(
            line="line-1",
            run_id=str(self.run_id),
            code_version="test",
            uptime_seconds=1.0,
            workers=[self.worker],
            services=[ServiceState("postgres", True, 0, "answers")],
            disk=disk_health(self.folder, 0),
            tally=self.tally.shown(),
            queue=self.glance.queue,
            dead_letters=self.glance.dead_letters,
        )


def browser(up: Served, address: str = "127.0.0.1", url: str = "http://127.0.0.1:8000") -> TestClient:
    return TestClient(web_app(up), url, raise_server_exceptions=False, follow_redirects=False, client=(address, 50_000))

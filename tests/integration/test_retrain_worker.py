"""The worker that asks for training runs: after so many labels, at a time, on drift; and not otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage import drift, training_runs
from storage.database import Database
from storage.image_store import ImageStore
from storage.stream import EventLog
from storage.training_models import Cause, RunState
from tests.facts import RECIPE, Plant
from tests.integration import test_watcher as watching
from tests.integration.school import School
from workers.drift.diagnosis import Limits
from workers.retrain import worker as module
from workers.retrain.plan import TrainerPlan
from workers.retrain.worker import RetrainWorker
from workers.watcher import Watcher


class Office(School):
    """Its worker asks for runs, and has nobody work on them."""

    def worker(self, **schedule: Any) -> RetrainWorker:
        recipe = {**self.recipe, "retrain": {**self.recipe["retrain"], **schedule}}
        plan = TrainerPlan(**{**self.plan.__dict__, "recipes": {RECIPE: recipe}})
        return RetrainWorker(plan=plan, log=self.home / "trainer.log")

    def asked(self, worker: RetrainWorker) -> list[tuple[Cause, RunState]]:
        """Of all runs, the newest first, after the worker has looked once more."""
        worker.ask_when_due(RECIPE, worker.schedules[RECIPE])
        with self.database.begin() as session:
            return [(run.cause, run.state) for run in training_runs.listed(session)]

    def forget(self) -> None:
        """The run that waits is cancelled: the next one may be due."""
        with self.database.begin() as session:
            training_runs.cancel(session, training_runs.listed(session)[0].id, "eve")


@pytest.fixture
def office(plant: Plant, log: EventLog, tmp_path: Path) -> Office:
    return Office(plant, log, tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """The worker's clock, set forward by hand from 02:59."""
    time = [datetime(2026, 11, 24, 2, 59, tzinfo=UTC)]
    monkeypatch.setattr(module, "now", lambda: time[0])

    def later(by: timedelta) -> None:
        time[0] += by

    return later


def test_nothing_starts_by_itself_unless_the_plant_wants_it(office: Office) -> None:
    office.label(range(6))
    assert office.asked(office.worker()) == []


def test_a_run_is_asked_for_after_so_many_new_labels(office: Office) -> None:
    worker = office.worker(after_labels=6)
    office.label(range(5))
    assert office.asked(worker) == []
    office.label(range(5, 6))
    waits = [(Cause.LABELS, RunState.QUEUED)]
    assert office.asked(worker) == waits
    assert office.asked(worker) == waits
    office.forget()
    assert office.asked(worker) == [(Cause.LABELS, RunState.CANCELLED)]
    office.label(range(6, 12))
    assert office.asked(worker)[0] == (Cause.LABELS, RunState.QUEUED)


def test_a_run_is_asked_for_at_its_time_and_once(office: Office, clock: Callable[[timedelta], None]) -> None:
    worker = office.worker(cron="0 3 * * *")
    assert office.asked(worker) == []
    clock(timedelta(seconds=59))
    assert office.asked(worker) == []
    clock(timedelta(seconds=1))
    assert office.asked(worker) == [(Cause.CRON, RunState.QUEUED)]
    office.forget()
    clock(timedelta(hours=23, minutes=59))
    assert len(office.asked(worker)) == 1
    clock(timedelta(minutes=1))
    assert office.asked(worker) == [(Cause.CRON, RunState.QUEUED), (Cause.CRON, RunState.CANCELLED)]


def test_a_run_is_asked_for_when_parts_drift_and_never_while_the_camera_is_at_fault(
    office: Office, plant: Plant, database: Database, tmp_path: Path
) -> None:
    store = ImageStore(tmp_path / "images")
    watcher = Watcher(
        database_url=database.url,
        images=store.root,
        interval_seconds=60,
        frames=1000,
        window=watching.WINDOW,
        limits=Limits(),
        maximum_megapixels=100,
    )
    worker = office.worker(on_drift=True, after_labels=1)
    watching.begin(plant, store, watcher)
    assert office.asked(worker) == []
    for start in (400, 500):  # what only the scores tell is believed the second time
        parts = [watching.part(start + number) for number in range(watching.WINDOW)]
        watching.record(plant, store, parts, score=0.7)
        watching.watch(watcher)
    assert office.asked(worker) == [(Cause.DRIFT, RunState.QUEUED)]
    office.forget()
    assert len(office.asked(worker)) == 1  # once for each alarm
    moved = [watching.shifted(watching.part(600 + number)) for number in range(watching.WINDOW)]
    watching.record(plant, store, moved)
    watching.watch(watcher)
    office.label(range(3))
    assert len(office.asked(worker)) == 1 and "drift alarm" in str(worker.paused[RECIPE])
    with database.begin() as session:
        (alarm,) = [one["alarm"] for one in drift.alarms(session) if one["pauses_retraining"]]
        drift.acknowledge(session, alarm, "eve", "fixture tightened")
    assert office.asked(worker)[0] == (Cause.LABELS, RunState.QUEUED)

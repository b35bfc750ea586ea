"""Drift from recorded frames to an acknowledged alarm, on a real database and real files."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from storage import drift, records
from storage.database import Database
from storage.errors import DriftRefused
from storage.images import Image, ImageStore, encode
from tests.facts import MODEL, RECIPE, STATION, Plant, frame, prediction
from tests.painted import good_part
from workers.drift.diagnosis import Limits
from workers.watcher import Watcher

WINDOW = 24


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


@pytest.fixture
def watcher(database: Database, store: ImageStore) -> Watcher:
    return Watcher(
        database_url=database.url,
        images=store.root,
        interval_seconds=60,
        frames=1000,
        window=WINDOW,
        limits=Limits(),
        maximum_megapixels=100,
    )


def part(number: int) -> Image:
    """Brushed metal with a rim: something whose place can be seen."""
    image = good_part(number)
    image[20:70, 30:36], image[20:26, 30:80] = 230, 230
    return image


def shifted(image: Image) -> Image:
    """The same parts, the camera 5 pixels further to the left."""
    return np.roll(image, 5, axis=1)


def record(plant: Plant, store: ImageStore, images: list[Image], score: float = 0.2, look: float | None = None) -> None:
    """look: around it lies what the parts look like to the model; None: it has no embedding."""
    events = []
    random = np.random.default_rng(len(images))
    for number, image in enumerate(images):
        stored = store.put(encode(image, "png"), ".png")
        facts = frame(sha256=stored.sha256, md5=stored.md5, width=image.shape[1], height=image.shape[0])
        captured, said = plant.captured(None, facts), score + 0.001 * (number % 17)
        place = None if look is None else tuple((look + random.normal(size=8)).tolist())
        seen = prediction(facts, said).model_copy(update={"projections": place})
        events.append(plant.decided(captured, said, predictions=(seen,)))
    with plant.database.begin() as session:
        records.record_verdicts(session, events)


def watch(watcher: Watcher) -> None:
    watcher.tick(threading.Event())


def begin(plant: Plant, store: ImageStore, watcher: Watcher) -> None:
    """A reference of the model's first frames."""
    watch(watcher)
    record(plant, store, [part(number) for number in range(WINDOW)])
    watch(watcher)


def test_the_first_frames_are_the_reference_and_later_ones_like_them_raise_no_alarm(
    plant: Plant, store: ImageStore, watcher: Watcher
) -> None:
    begin(plant, store, watcher)
    record(plant, store, [part(100 + number) for number in range(WINDOW)])
    watch(watcher)
    with plant.database.begin() as session:
        reference = drift.reference(session, STATION, "top", MODEL)
        assert reference is not None and reference.frames == WINDOW
        (measurement,) = drift.measurements(session)
        assert (measurement.cause, measurement.reference) == ("none", reference.id)
        assert drift.alarms(session) == [] and drift.retraining_paused(session, RECIPE) is None


def test_a_moved_camera_pauses_retraining_until_an_engineer_acknowledges_it(
    plant: Plant, store: ImageStore, watcher: Watcher
) -> None:
    begin(plant, store, watcher)
    images = [shifted(part(200 + number)) for number in range(2 * WINDOW)]
    for half in (images[:WINDOW], images[WINDOW:]):
        record(plant, store, half)
        watch(watcher)
    with plant.database.begin() as session:
        (alarm,) = drift.alarms(session)  # it still is moved in the second window: no second alarm
        assert alarm["cause"] == "position" and "pixels to the right" in alarm["sentence"]
        paused = drift.retraining_paused(session, RECIPE)
        assert paused is not None and f"drift alarm {alarm['alarm']} at {STATION}/top" in paused
        assert drift.retraining_paused(session, "another recipe") is None
    assert f"drift alarm {alarm['alarm']}" in watcher.status.detail
    with plant.database.begin() as session:
        drift.acknowledge(session, alarm["alarm"], "anna", "bracket tightened")
        assert drift.retraining_paused(session, RECIPE) is None
        assert drift.alarms(session) == [] and drift.alarms(session, every=True)[0]["acknowledged_by"] == "anna"
        with pytest.raises(DriftRefused, match="acknowledged by anna"):
            drift.acknowledge(session, alarm["alarm"], "ben", "again")


def test_where_the_camera_stays_as_it_is_now_an_engineer_can_ask_for_a_new_reference(
    plant: Plant, store: ImageStore, watcher: Watcher
) -> None:
    begin(plant, store, watcher)
    images = [shifted(part(300 + number)) for number in range(4 * WINDOW)]
    record(plant, store, images[:WINDOW])
    watch(watcher)
    with plant.database.begin() as session:
        (alarm,) = drift.alarms(session)
        drift.acknowledge(session, alarm["alarm"], "anna", "new fixture", new_reference=True)
    for window in (1, 2, 3):
        record(plant, store, images[window * WINDOW : (window + 1) * WINDOW])
        watch(watcher)
    with plant.database.begin() as session:
        found = drift.reference(session, STATION, "top", MODEL)
        assert found is not None and found.after == alarm["alarm"]
        newest = drift.measurements(session)[0]
        assert (newest.cause, newest.reference) == ("none", found.id)


def test_worse_parts_are_an_alarm_that_pauses_nothing_once_two_windows_say_so(
    plant: Plant, store: ImageStore, watcher: Watcher
) -> None:
    begin(plant, store, watcher)
    for start in (400, 500):
        record(plant, store, [part(start + number) for number in range(WINDOW)], score=0.7)
        with plant.database.begin() as session:
            assert drift.alarms(session) == []
        watch(watcher)
    with plant.database.begin() as session:
        (alarm,) = drift.alarms(session)
        assert alarm["cause"] == "parts" and "rejects rose from 0 % to 100 %" in alarm["sentence"]
        assert drift.retraining_paused(session, RECIPE) is None


def test_parts_that_only_look_otherwise_to_the_model_are_an_alarm(
    plant: Plant, store: ImageStore, watcher: Watcher
) -> None:
    watch(watcher)
    for start, look in ((0, 0.0), (100, 0.1), (200, 2.5), (300, 2.5)):
        with plant.database.begin() as session:
            assert drift.alarms(session) == []
        record(plant, store, [part(start + number) for number in range(WINDOW)], look=look)
        watch(watcher)
    with plant.database.begin() as session:
        (alarm,) = drift.alarms(session)
        assert alarm["cause"] == "unknown" and "look otherwise to the model" in alarm["sentence"]
        assert drift.parts_drifted(session, RECIPE, None) and drift.retraining_paused(session, RECIPE) is None
        figures = drift.alarm_shown(session, alarm["alarm"])["figures"]
        assert figures["embedding_ks"] > 0.5 and figures["embedding_chance"] < 0.001
    assert watcher.status.facts["drift"][f"{STATION}/top"]["embedding_psi"] > 0.25  # type: ignore[index]


def test_the_work_of_a_tick_does_not_grow_with_the_rate_of_the_line(
    plant: Plant, store: ImageStore, watcher: Watcher
) -> None:
    watcher.frames = 5
    watch(watcher)
    record(plant, store, [part(number) for number in range(40)])
    watch(watcher)
    assert watcher.status.handled == 5


def test_a_frame_that_is_gone_is_left_out(plant: Plant, store: ImageStore, watcher: Watcher) -> None:
    watch(watcher)
    record(plant, store, [part(1), part(2)])
    for file in store.root.rglob("*.png"):
        file.unlink()
        break
    watch(watcher)
    assert watcher.status.handled == 1

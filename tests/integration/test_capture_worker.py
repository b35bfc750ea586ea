"""Capture on real services: each trigger becomes one told outcome, whatever the camera, the disk and inference do."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from storage.errors import CameraTimeout, StopAsked, StreamUnavailable
from storage.events import Event, FrameCaptured, InspectionDecided, PartTriggered, Trigger, Verdict, new_id, now
from storage.images import ImageStore
from storage.stream import EventLog
from tests.facts import RECIPE, STATION, Plant, picture
from workers.capture.arrivals import FileArrivals
from workers.capture.build import arrivals, images_in, last_number
from workers.capture.camera import Camera, Frame, Shot
from workers.capture.dataset import DatasetCamera
from workers.capture.folder import FolderCamera
from workers.capture.plan import StationPlan
from workers.capture.trigger import AHEAD, FileTrigger, IntervalTrigger, Producer, software_trigger
from workers.capture.worker import CaptureWorker, TriggerProducer
from workers.consumer import Delivery
from workers.hot import NoHotFrames

PATIENCE_SECONDS = 60.0


class LiveCamera(DatasetCamera):
    """Sees the world now: each capture shows the next part."""

    kind = "live"
    is_live = True

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        super().__init__(name, paths)
        self.taken, self.silent = 0, False

    def capture(self, shot: Shot) -> Frame:
        if self.silent:
            raise CameraTimeout(self.name)
        self.taken += 1
        return super().capture(replace(shot, trigger_number=self.taken))


class Bench:
    """A capture worker and what it told."""

    def __init__(self, log: EventLog, stream_url: str, plant: Plant, folder: Path) -> None:
        self.log, self.stream_url, self.plant, self.folder = log, stream_url, plant, folder
        self.paths = [folder / f"{number}.png" for number in range(5)]
        for number, path in enumerate(self.paths):
            path.write_bytes(picture(10 * number))
        self.told = [log.key(FrameCaptured), log.key(InspectionDecided)]
        log.create_group(self.told, "record")
        log.create_group(self.told[:1], "inference")
        self.key = log.key(PartTriggered, STATION)
        log.create_group([self.key], "capture")

    def worker(
        self,
        *cameras: Camera,
        triggers: Callable[[EventLog], Sequence[TriggerProducer]] = lambda log: [],
        minimum_free_bytes: int = 0,
        **plan: object,
    ) -> CaptureWorker:
        facts = {
            "name": STATION,
            "recipe": RECIPE,
            "recipe_id": self.plant.recipe_id,
            "image_size": 32,
            "timeout_seconds": 5.0,
            "trigger_maximum_age_seconds": 5.0,
            "back_pressure": "wait",
            "maximum_in_flight": 100,
            "image_format": "png",
            "jpeg_quality": 95,
            "maximum_megapixels": 1.0,
        }
        return CaptureWorker(
            stream_url=self.stream_url,
            images=self.folder / "images",
            minimum_free_bytes=minimum_free_bytes,
            plan=StationPlan(**{**facts, **plan}),  # type: ignore[arg-type]  # facts by name
            cameras=lambda: list(cameras),
            triggers=triggers,
            delivery=Delivery("capture", "capture-press"),
            hot=NoHotFrames(),
        )

    def trigger(self, **facts: object) -> Trigger:
        trigger = self.plant.trigger(0, **facts)
        return trigger.model_copy(update={"trigger_number": self.log.trigger(trigger)})

    def outcomes(self, count: int) -> list[Event]:
        """The next ones told; waits for them."""
        found: list[Event] = []
        until = time.monotonic() + PATIENCE_SECONDS
        while len(found) < count:
            found += [entry.event for entry in self.log.read("record", "r", self.told, 100, 50)]
            assert time.monotonic() < until, f"{len(found)} of {count} told"
        return found


@pytest.fixture
def bench(log: EventLog, stream_url: str, plant: Plant, tmp_path: Path) -> Bench:
    return Bench(log, stream_url, plant, tmp_path)


@contextmanager
def running(worker: CaptureWorker) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the stop went unnoticed"


def wait_until(done: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def test_all_views_of_a_part_are_one_event_and_on_disk_before_it(bench: Bench) -> None:
    top, side = DatasetCamera("top", bench.paths), DatasetCamera("side", bench.paths[2:])
    trigger = bench.trigger(part_id="A1")
    with running(bench.worker(top, side)):
        (event,) = bench.outcomes(1)
    assert isinstance(event, FrameCaptured)
    assert (event.trigger, [frame.camera for frame in event.frames]) == (trigger, ["top", "side"])
    store = ImageStore(bench.folder / "images")
    assert [store.get(frame.sha256) for frame in event.frames] == [picture(0), picture(20)]
    assert bench.log.backlog(bench.key, "capture") == 0


def test_a_redelivered_trigger_gives_the_same_images(bench: Bench) -> None:
    for _ in range(3):
        bench.trigger()
    entries = bench.log.read("capture", "capture-press", [bench.key], 3, 10)
    with running(bench.worker(DatasetCamera("top", bench.paths))):
        first = bench.outcomes(3)
    bench.log.publish(*(entry.event for entry in entries))  # told in the stream without a station: nobody reads it
    for entry in entries:
        bench.log.client.xadd(bench.key, {"stream": "part.triggered", "body": entry.event.model_dump_json()})
    with running(bench.worker(DatasetCamera("top", bench.paths))):
        again = bench.outcomes(3)
    assert images(first) == images(again)


def images(events: Sequence[Event]) -> dict[object, list[str]]:
    return {
        event.trigger.inspection_id: [frame.sha256 for frame in event.frames]
        for event in events
        if isinstance(event, FrameCaptured)
    }


def test_an_old_trigger_of_a_live_camera_is_an_error_and_of_a_recording_is_not(bench: Bench) -> None:
    bench.trigger(triggered_at=now() - timedelta(seconds=60))
    with running(bench.worker(DatasetCamera("top", bench.paths))):
        assert isinstance(bench.outcomes(1)[0], FrameCaptured)
    bench.trigger(triggered_at=now() - timedelta(seconds=60))
    with running(bench.worker(LiveCamera("top", bench.paths))):
        (event,) = bench.outcomes(1)
    assert isinstance(event, InspectionDecided)
    assert event.verdict is Verdict.ERROR and re.search(r"is 6\d\.\d s old", event.reason)


def test_a_part_that_moved_on_while_inference_was_behind_is_not_captured(bench: Bench) -> None:
    camera = LiveCamera("top", bench.paths)
    bench.log.publish(bench.plant.captured())
    bench.trigger(triggered_at=now())
    with running(bench.worker(camera, maximum_in_flight=1, trigger_maximum_age_seconds=0.5)):
        time.sleep(0.7)
        entries = bench.log.read("inference", "i", bench.told[:1], 10, 10)
        bench.log.publish_and_acknowledge([], entries, "inference")
        events = [event for event in bench.outcomes(2) if isinstance(event, InspectionDecided)]
    assert (camera.taken, len(events)) == (0, 1)


def test_a_live_part_that_could_not_be_told_is_told_as_it_was_captured(bench: Bench) -> None:
    worker, camera = bench.worker(), LiveCamera("top", bench.paths)
    worker.cameras = lambda: [camera]
    telling, failures = worker.log.publish_and_acknowledge, [StreamUnavailable("cut off"), StreamUnavailable("again")]

    class CutOff(EventLog):
        """A log whose connection breaks while it tells."""

        def publish_and_acknowledge(self, *arguments: object) -> None:
            if failures:
                raise failures.pop()
            telling(*arguments)  # type: ignore[arg-type]  # handed on as they are

    worker.log = CutOff(bench.stream_url)
    bench.trigger()
    with running(worker):
        (event,) = bench.outcomes(1)
    assert isinstance(event, FrameCaptured)
    assert (camera.taken, failures) == (1, [])


def test_a_missing_view_is_an_error_that_names_the_camera(bench: Bench) -> None:
    silent = LiveCamera("side", bench.paths)
    silent.silent = True
    bench.trigger()
    with running(bench.worker(DatasetCamera("top", bench.paths), silent)):
        (event,) = bench.outcomes(1)
    assert isinstance(event, InspectionDecided)
    assert event.verdict is Verdict.ERROR and "camera side" in event.reason and event.frames == ()


def test_a_corrupt_file_is_kept_as_evidence(bench: Bench) -> None:
    bench.paths[0].write_bytes(b"this is no image")
    bench.trigger()
    with running(bench.worker(DatasetCamera("top", bench.paths))):
        (event,) = bench.outcomes(1)
    assert isinstance(event, FrameCaptured)
    assert ImageStore(bench.folder / "images").get(event.frames[0].sha256) == b"this is no image"
    assert event.frames[0].width == 0


def test_capture_waits_while_inference_is_behind_and_a_stop_ends_the_wait(bench: Bench) -> None:
    worker = bench.worker(DatasetCamera("top", bench.paths), maximum_in_flight=2)
    for _ in range(4):
        bench.trigger()
    with running(worker):
        bench.outcomes(2)
        wait_until(lambda: bench.log.group_states(bench.key)[0].pending)
        assert bench.log.client.xlen(bench.told[0]) == 2
        entries = bench.log.read("inference", "i", bench.told[:1], 1, 10)
        bench.log.publish_and_acknowledge([], entries, "inference")
        bench.outcomes(1)
    assert bench.log.backlog(bench.key, "capture") == 1  # it waits for the next start
    worker.stop.set()
    with pytest.raises(StopAsked):
        worker.make_way()


def test_parts_that_inference_cannot_take_are_errors_when_the_station_is_set_so(bench: Bench) -> None:
    for _ in range(3):
        bench.trigger()
    with running(bench.worker(DatasetCamera("top", bench.paths), maximum_in_flight=1, back_pressure="error")):
        events = bench.outcomes(3)
    errors = [event for event in events if isinstance(event, InspectionDecided)]
    assert len(errors) == 2
    assert all(event.verdict is Verdict.ERROR and "maximum_in_flight 1" in event.reason for event in errors)


def test_a_full_disk_holds_the_station_until_there_is_room(bench: Bench) -> None:
    worker = bench.worker(DatasetCamera("top", bench.paths), minimum_free_bytes=1 << 60)
    for _ in range(3):
        bench.trigger()
    with running(worker):
        wait_until(lambda: worker.status.state == "held")
        assert "the line holds" in worker.status.detail
        worker.store.minimum_free_bytes = 0
        events = bench.outcomes(3)
    assert all(isinstance(event, FrameCaptured) for event in events)
    assert len(set(images(events))) == 3 and bench.log.dead_count() == 0


def test_the_station_tells_how_its_cameras_are(bench: Bench) -> None:
    worker = bench.worker(DatasetCamera("top", bench.paths))
    bench.trigger()
    with running(worker):
        bench.outcomes(1)
        wait_until(lambda: worker.status.facts.get("triggers", {}).get("top", {}).get("frames"))  # type: ignore[attr-defined]
    assert worker.status.facts["cameras"]["top"]["state"] == "up"  # type: ignore[index]  # a table by camera
    assert worker.status.facts["triggers"] == {"top": {"triggers": 1, "frames": 1, "late_frames": 0, "mismatches": 0}}


def test_triggers_that_end_with_an_error_end_the_worker(bench: Bench) -> None:
    class Broken(Producer):
        ended = ""

        def run(self, stop: threading.Event) -> None:
            raise KeyError("a wire is loose")

    worker = bench.worker(DatasetCamera("top", bench.paths), triggers=lambda log: [Broken()])
    with pytest.raises(KeyError, match="wire"):
        worker.run(threading.Event())


# Triggers


@contextmanager
def producing(producer: TriggerProducer) -> Iterator[threading.Thread]:
    stop = threading.Event()
    thread = threading.Thread(target=producer.run, args=(stop,))
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def length(bench: Bench) -> int:
    return bench.log.client.xlen(bench.key)


def test_an_interval_never_runs_ahead_of_its_station(bench: Bench) -> None:
    producer = IntervalTrigger(bench.log, STATION, bench.plant.run_id, 0, 0, "bracket")
    with producing(producer):
        wait_until(lambda: length(bench) == AHEAD)
        time.sleep(0.1)
        assert length(bench) == AHEAD
        entries = bench.log.read("capture", "c", [bench.key], 3, 10)
        time.sleep(0.1)
        assert length(bench) == AHEAD  # in hand is not dealt with
        bench.log.publish_and_acknowledge([], entries, "capture")
        wait_until(lambda: length(bench) == AHEAD + 3)


def test_an_interval_waits_for_its_station_from_the_very_first_trigger(bench: Bench) -> None:
    bench.log.client.flushall()  # the worker has not made its group yet
    with producing(IntervalTrigger(bench.log, STATION, bench.plant.run_id, 0, 0, None)):
        wait_until(lambda: length(bench) == AHEAD)
        time.sleep(0.1)
        assert length(bench) == AHEAD


def test_an_interval_keeps_its_rate_and_ends_at_the_limit(bench: Bench) -> None:
    producer = IntervalTrigger(bench.log, STATION, bench.plant.run_id, 60 / 0.02, 20, None)
    triggers: list[Trigger] = []
    with producing(producer) as thread:
        while thread.is_alive():
            entries = bench.log.read("capture", "c", [bench.key], 10, 10)
            bench.log.publish_and_acknowledge([], entries, "capture")
            triggers += [entry.event.trigger for entry in entries]  # type: ignore[attr-defined]  # triggers alone
    triggers += [e.event.trigger for e in bench.log.read("capture", "c", [bench.key], 10, 10)]  # type: ignore[attr-defined]
    assert [trigger.trigger_number for trigger in triggers] == list(range(1, 21))
    lasted = (triggers[-1].triggered_at - triggers[0].triggered_at).total_seconds()
    assert lasted >= 0.9 * 19 * 0.02  # never faster than asked, beyond one interval made up for


def test_a_recording_waits_for_its_folder_and_ends_with_its_last_image(bench: Bench) -> None:
    folder = bench.folder / "recording"
    options = {"name": "top", "kind": "folder", "path": folder, "watch": False, "loop": False, "pattern": "*.png"}
    producer = IntervalTrigger(bench.log, STATION, bench.plant.run_id, 0, 0, None, lambda: last_number([options]))
    with producing(producer) as thread:
        time.sleep(0.05)
        folder.mkdir()
        (folder / "notes.txt").write_text("no image")
        time.sleep(0.3)
        assert length(bench) == 0
        for number in range(3):
            (bench.folder / f"{number}.new").write_bytes(picture(number))
            (bench.folder / f"{number}.new").rename(folder / f"{number}.png")
        thread.join(PATIENCE_SECONDS)
    assert 1 <= length(bench) <= images_in(options) == 3


def test_a_recording_plays_in_every_run_and_says_that_it_has_ended(bench: Bench) -> None:
    folder = bench.folder / "recording"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number))
    options = {"name": "top", "kind": "folder", "path": folder, "watch": False, "loop": False, "pattern": "*"}
    bench.log.seed_trigger_number(STATION, 100)  # an earlier run's
    for run in (bench.plant.run_id, new_id()):
        producer = IntervalTrigger(bench.log, STATION, run, 0, 0, None, lambda: last_number([options]))
        worker = bench.worker(FolderCamera("top", folder), triggers=partial(made, producer))
        with running(worker):
            events = bench.outcomes(3)
            until = time.monotonic() + PATIENCE_SECONDS
            while "has ended after 3 parts" not in worker.status.detail:
                assert time.monotonic() < until
                time.sleep(0.01)
        shown = [event.frames[0].source for event in events if isinstance(event, FrameCaptured)]
        assert shown == ["0.png", "1.png", "2.png"]


def made(producer: TriggerProducer, log: EventLog) -> list[TriggerProducer]:
    return [producer]


def test_a_folder_that_disappears_and_returns_loses_no_file(bench: Bench) -> None:
    folder, away = bench.folder / "in", bench.folder / "away"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    watched = FileArrivals(folder, lambda path: False, settle_seconds=0.0)
    producer = FileTrigger(bench.log, STATION, bench.plant.run_id, 0, "bracket", watched.poll, 0.01)
    with producing(producer):
        wait_until(lambda: length(bench) == 1)
        folder.rename(away)
        time.sleep(0.05)
        (away / "b.png").write_bytes(picture(2))
        away.rename(folder)
        wait_until(lambda: length(bench) == 2)
        (folder / "c\udcff.png").write_bytes(picture(3))  # a name that is no UTF-8
        wait_until(lambda: length(bench) == 3)
    with producing(FileTrigger(bench.log, STATION, bench.plant.run_id, 0, None, lambda: list(folder.iterdir()), 0.01)):
        time.sleep(0.1)
        assert length(bench) == 3
    with running(bench.worker(FolderCamera("top", folder, "watch"))):
        events = bench.outcomes(3)
    assert [event.trigger.part_id for event in events if isinstance(event, FrameCaptured)] == ["a", "b"]
    (error,) = (event for event in events if isinstance(event, InspectionDecided))
    assert error.verdict is Verdict.ERROR and "c\\udcff" in error.reason


def test_a_watched_folder_that_is_gone_is_told_of_its_camera_and_trigger_and_logged_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    folder, away = bench.folder / "in", bench.folder / "away"
    folder.mkdir()

    def triggers(log: EventLog) -> list[TriggerProducer]:
        arrivals = FileArrivals(folder, lambda path: False, settle_seconds=0.0)
        return [FileTrigger(log, STATION, bench.plant.run_id, 0, "bracket", arrivals.poll, 0.01)]

    worker = bench.worker(FolderCamera("top", folder, "watch"), triggers=triggers)

    def camera() -> str:
        cameras: dict[str, dict[str, str]] = worker.status.facts.get("cameras", {})  # type: ignore[assignment]
        return cameras.get("top", {}).get("state", "")

    with running(worker):
        wait_until(lambda: camera() == "up" and worker.status.facts["trigger_trouble"] == "")
        folder.rename(away)
        wait_until(lambda: camera() == "lost")
        assert worker.status.facts["trigger_trouble"] == f"{folder}: No such file or directory"
        time.sleep(1.5)  # several rounds of the trigger, and the camera's next try is later than its folder's return
        (away / "a.png").write_bytes(picture(1))
        away.rename(folder)
        (event,) = bench.outcomes(1)
        wait_until(lambda: camera() == "up" and worker.status.facts["trigger_trouble"] == "")
    assert isinstance(event, FrameCaptured), "the camera is opened anew before the part"
    assert [record.message for record in caplog.records if "no trigger" in record.message] == [
        f"station {STATION}: no triggers until it is mended: {folder}: No such file or directory"
    ]


def test_files_that_are_gone_do_not_fill_redis(bench: Bench) -> None:
    folder, away = bench.folder / "in", bench.folder / "away"
    folder.mkdir()
    camera = {"kind": "folder", "path": folder, "watch": True, "pattern": "*.png"}

    def known() -> set[str]:
        return {Path(path).name for path, _ in bench.log.arrived_files(STATION)}

    trigger = FileTrigger(bench.log, STATION, bench.plant.run_id, 0, None, list)

    def told(watched: FileArrivals) -> list[str]:
        time.sleep(0.05)  # a listing that took long is not repeated at once
        return [path.name for path in watched.poll() if trigger.tell(path)]

    def begun() -> FileArrivals:
        return arrivals(bench.log, STATION, {"settle_seconds": 0.0}, [camera])

    for name in ("a.png", "b.png", "notes.txt", "c\udcff.png"):
        (folder / name).write_bytes(picture(1))
    watched = begun()
    assert sorted(told(watched)) == ["a.png", "b.png", "c\udcff.png"] and len(known()) == 3
    (folder / "a.png").rename(away)
    assert told(watched) == [] and len(known()) == 2
    away.rename(folder / "a.png")
    assert told(watched) == ["a.png"] and len(known()) == 3
    folder.rename(away)
    folder.mkdir()  # unmounted
    assert told(watched) == [] and told(begun()) == [] and len(known()) == 3
    (folder / "stray.png").write_bytes(picture(2))
    assert told(begun()) == ["stray.png"] and len(known()) == 4
    (folder / "stray.png").unlink()
    (away / "b.png").unlink()
    folder.rmdir()
    away.rename(folder)
    assert told(begun()) == [] and known() == {"a.png", "c\\udcff.png"}


def test_a_software_trigger_has_its_number_at_once(bench: Bench) -> None:
    one = software_trigger(bench.log, STATION, bench.plant.run_id, part_id="A1", product="p", lot="l")
    two = software_trigger(bench.log, STATION, bench.plant.run_id)
    entries = bench.log.read("capture", "c", [bench.key], 10, 10)
    assert [entry.event.trigger for entry in entries] == [one, two]  # type: ignore[attr-defined]  # triggers alone
    assert (one.trigger_number, two.trigger_number) == (1, 2)

"""The recorder on real services: one verdict per inspection, whatever is repeated, refused or lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from storage import records
from storage.errors import DatabaseUnavailable, StreamUnavailable
from storage.events import (
    FrameCaptured,
    FrameFacts,
    InspectionCompleted,
    InspectionDecided,
    PredictionFacts,
    Verdict,
)
from storage.images import ImageStore
from storage.models import InspectionVerdict
from storage.stream import Entry, EventLog
from tests.facts import Plant, frame, picture
from workers.consumer import Delivery
from workers.recorder import Recorder

PATIENCE_SECONDS = 60.0


class Bench:
    """A recorder, the events it is told, and what is on record."""

    def __init__(self, log: EventLog, stream_url: str, plant: Plant, folder: Path, give_up: float = 60.0) -> None:
        self.log, self.plant, self.folder = log, plant, folder
        self.store = ImageStore(folder / "images")
        self.arguments = {"stream_url": stream_url, "database_url": plant.database.url, "images": folder / "images"}
        self.recorder = Recorder(
            **self.arguments,  # type: ignore[arg-type]  # facts by name
            minimum_free_bytes=0,
            delivery=Delivery("record", "record", batch_size=64),
            sweep_seconds=0.0,
            give_up_seconds=give_up,
            ageing_seconds=28_800.0,
        )
        self.keys = [log.key(InspectionDecided), log.key(FrameCaptured)]
        log.create_group(self.keys, "record")
        log.create_group(self.keys[1:], "inference")

    def part(self, shade: int = 0, **facts: Any) -> FrameCaptured:
        return self.plant.captured(self.plant.trigger(**facts), self.frame(shade))

    def frame(self, shade: int) -> FrameFacts:
        data = picture(shade)
        return frame(data=data, sha256=self.store.put(data, ".png").sha256)

    def entries(self) -> list[Entry]:
        return self.log.read("record", "record", self.keys, 100, 10)

    def record_all(self) -> None:
        """Until nothing is left to read."""
        while entries := self.entries():
            self.recorder.handle(entries)

    def verdicts(self) -> dict[object, tuple[str, str]]:
        with self.plant.database.begin() as session:
            return {row.inspection_id: (row.verdict, row.reason) for row in session.scalars(select(InspectionVerdict))}

    def completed(self) -> list[InspectionCompleted]:
        rows: Any = self.log.client.xrange(self.log.key(InspectionCompleted))
        return [InspectionCompleted.model_validate_json(fields[b"body"]) for _, fields in rows]


@pytest.fixture
def bench(log: EventLog, stream_url: str, plant: Plant, tmp_path: Path) -> Bench:
    return Bench(log, stream_url, plant, tmp_path)


def test_a_part_is_recorded_and_told_once_whatever_is_repeated(bench: Bench) -> None:
    parts = [bench.part(shade) for shade in range(5)]
    decided = [bench.plant.decided(part) for part in parts]
    for _ in range(2):
        bench.log.publish(*parts, *decided, *parts, *decided)
        bench.record_all()
    assert set(bench.verdicts()) == {part.trigger.inspection_id for part in parts}
    assert len(bench.completed()) == 5
    assert all(bench.log.backlog(key, "record") == 0 for key in bench.keys)


def test_a_crash_after_the_rows_and_before_the_telling_repeats_without_harm(bench: Bench) -> None:
    part = bench.part()
    bench.log.publish(part, bench.plant.decided(part))
    entries = bench.entries()
    with bench.plant.database.begin() as session:  # what the recorder did before it was killed
        records.record_verdicts(session, [e.event for e in entries if isinstance(e.event, InspectionDecided)])
    assert bench.log.backlog(bench.keys[0], "record") == 1
    redelivered = [entry for key in bench.keys for entry in bench.log.read_pending("record", "record", [key], 10)]
    assert len(redelivered) == 2
    bench.recorder.handle(redelivered)
    assert len(bench.verdicts()) == 1
    assert [event.inspection_id for event in bench.completed()] == [part.trigger.inspection_id]
    assert all(bench.log.backlog(key, "record") == 0 for key in bench.keys)


def test_what_redis_did_not_take_after_the_commit_is_told_once_it_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = bench.part()
    bench.log.publish(part, bench.plant.decided(part))
    entries = bench.entries()

    def unavailable(*_: object) -> None:
        raise StreamUnavailable("the server was killed between the commit and the telling")

    with monkeypatch.context() as outage, pytest.raises(StreamUnavailable):
        outage.setattr(bench.recorder.log, "publish_and_acknowledge", unavailable)
        bench.recorder.handle(entries)
    assert len(bench.verdicts()) == 1 and bench.completed() == []
    bench.recorder.handle(entries)
    assert [event.inspection_id for event in bench.completed()] == [part.trigger.inspection_id]


def test_two_opposite_decisions_in_one_batch_are_told_as_the_one_recorded(bench: Bench) -> None:
    part = bench.part()
    bench.log.publish(bench.plant.decided(part, 0.9), bench.plant.decided(part, 0.1))
    bench.record_all()
    assert [event.verdict for event in bench.completed()] == ["NG"]
    assert [verdict for verdict, _ in bench.verdicts().values()] == ["NG"]


def test_a_part_that_cannot_be_written_is_an_error_and_the_others_are_written(bench: Bench) -> None:
    good, bad, lost = bench.part(1), bench.part(2), bench.part(3)
    facts = bench.plant.decided(bad).predictions[0]
    wrong = PredictionFacts.model_construct(**{**dict(facts), "anomaly_score": 1.5})
    unknown = PredictionFacts.model_construct(**{**dict(facts), "model_version": "unknown"})
    unlike = [bench.plant.decided(bad, predictions=(wrong,)), bench.plant.decided(lost, predictions=(unknown,))]
    bench.log.publish(good, bad, lost, bench.plant.decided(good), *unlike)
    bench.record_all()
    found = bench.verdicts()
    assert found[good.trigger.inspection_id][0] == "OK"
    for part in (bad, lost):
        verdict, reason = found[part.trigger.inspection_id]
        assert verdict == "ERROR" and "cannot be recorded" in reason
    assert bench.log.dead_count() == 2


def test_a_part_whose_image_is_gone_is_an_error(bench: Bench) -> None:
    part = bench.plant.captured(None, frame(data=b"never stored"))
    bench.log.publish(part, bench.plant.decided(part), bench.plant.decided(bench.part(1)))
    bench.record_all()
    verdict, reason = bench.verdicts()[part.trigger.inspection_id]
    assert verdict == "ERROR" and "not there" in reason
    assert len(bench.verdicts()) == 2


def test_what_no_table_can_hold_is_set_aside_and_nothing_else_with_it(bench: Bench) -> None:
    stranger, good = bench.part(1, station="nowhere"), bench.part(2)
    bench.log.publish(stranger, good, bench.plant.decided(stranger), bench.plant.decided(good))
    bench.record_all()
    assert set(bench.verdicts()) == {good.trigger.inspection_id}
    assert bench.log.dead_count() >= 2


def test_a_serial_number_with_a_nul_is_recorded(bench: Bench) -> None:
    part = bench.part(1, part_id="A\0" + "1")
    bench.log.publish(part, bench.plant.decided(part))
    bench.record_all()
    assert bench.completed()[0].part_id == "A\ufffd1"


def test_a_captured_part_that_nobody_decides_is_told_again_once_and_then_an_error(
    log: EventLog, stream_url: str, plant: Plant, tmp_path: Path
) -> None:
    bench = Bench(log, stream_url, plant, tmp_path, give_up=600.0)
    part = bench.part()
    with plant.database.begin() as session:
        records.record_captures(session, [part])
    for _ in range(2):
        bench.recorder.sweeper.sweep()
    (told,) = log.read("inference", "i", bench.keys[1:], 10, 10)
    assert told.event.trigger == part.trigger  # type: ignore[attr-defined]  # captured
    bench.record_all()
    assert bench.verdicts() == {}
    bench.recorder.sweeper.give_up_seconds = 0.0
    for _ in range(2):
        bench.recorder.sweeper.sweep()
        bench.record_all()
    ((verdict, reason),) = bench.verdicts().values()
    assert verdict == "ERROR" and "never scored" in reason
    assert log.client.xlen(bench.keys[0]) == 1


def test_the_loop_records_trims_and_stops(bench: Bench) -> None:
    parts = [bench.part(shade) for shade in range(20)]
    bench.log.publish(*parts, *(bench.plant.decided(part) for part in parts))
    bench.log.publish_and_acknowledge([], bench.log.read("inference", "i", bench.keys[1:], 100, 10), "inference")
    stop = threading.Event()
    thread = threading.Thread(target=bench.recorder.run, args=(stop,))
    thread.start()
    until = time.monotonic() + PATIENCE_SECONDS
    while any(bench.log.client.xlen(key) for key in bench.keys):
        assert time.monotonic() < until
        time.sleep(0.01)
    stop.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert len(bench.verdicts()) == 20 and bench.recorder.status.state == "stopped"


def test_without_postgres_nothing_is_acknowledged(bench: Bench) -> None:
    bench.log.publish(bench.plant.decided(bench.part()))
    away = Recorder(
        **{**bench.arguments, "database_url": "postgresql://u@127.0.0.1:1/x"},  # type: ignore[arg-type]  # by name
        minimum_free_bytes=0,
        delivery=Delivery("record", "record"),
        sweep_seconds=60.0,
        give_up_seconds=60.0,
        ageing_seconds=28_800.0,
    )
    with pytest.raises(DatabaseUnavailable):
        away.handle(bench.entries())
    assert bench.log.backlog(bench.keys[0], "record") == 1


def test_a_table_that_somebody_locks_holds_the_recorder_and_costs_no_delivery(
    log: EventLog, stream_url: str, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.database.LOCK_MILLISECONDS", 100)
    plant.database.close()  # what is open was opened with the longer wait
    bench = Bench(log, stream_url, plant, tmp_path)
    part = bench.part()
    stop, status = threading.Event(), bench.recorder.status
    thread = threading.Thread(target=bench.recorder.run, args=(stop,))
    with plant.database.begin() as keeper:
        keeper.execute(text("LOCK TABLE verdicts IN ACCESS EXCLUSIVE MODE"))
        thread.start()
        bench.log.publish(part, plant.decided(part))
        until = time.monotonic() + PATIENCE_SECONDS
        held, beat_at = 0, 0.0
        while held <= bench.recorder.delivery.maximum_deliveries:  # more often than it may be delivered
            assert time.monotonic() < until
            if status.state == "held" and "lock timeout" in status.detail and status.beat_at != beat_at:
                held, beat_at = held + 1, status.beat_at
            time.sleep(0.01)
    while not bench.completed():
        assert time.monotonic() < until
        time.sleep(0.01)
    stop.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert [verdict for verdict, _ in bench.verdicts().values()] == [Verdict.OK]
    assert bench.log.dead_count() == 0


def test_an_error_of_capture_needs_no_frames(bench: Bench) -> None:
    event = InspectionDecided.error(bench.plant.captured(), "no trigger line", evidence=False)
    bench.log.publish(event)
    bench.record_all()
    assert bench.verdicts() == {event.trigger.inspection_id: (Verdict.ERROR, "no trigger line")}

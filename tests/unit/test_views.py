"""A station's cameras: all views or none, no camera holds up the others, a lost one comes back by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from storage.errors import (
    CameraLost,
    CameraTimeout,
    FrameIncomplete,
    FrameMismatch,
    InspectionFailed,
    SourceExhausted,
    ViewsMissing,
)
from workers.capture.camera import Frame, Shot
from workers.capture.count import FrameCount
from workers.capture.memory import MemoryCamera
from workers.capture.status import Backoff, CameraState
from workers.capture.views import StationViews

IMAGES = [np.full((4, 4), shade, np.uint8) for shade in range(5)]
PATIENCE_SECONDS = 20.0


class BenchCamera(MemoryCamera):
    """A camera on the bench, whose cable, clock and counter a test can pull."""

    kind = "bench"
    is_live = True

    def __init__(self, name: str, counts_triggers: bool = False) -> None:
        super().__init__(name, IMAGES)
        self.counts_triggers = counts_triggers
        self.plugged_in = True
        self.complete = True
        self.skip = 0
        self.answering = threading.Event()
        self.answering.set()
        self.silent = False
        self.opened = self.closed = self.discarded = 0
        self.failure: Exception | None = None

    def open(self) -> None:
        super().open()
        self.opened += 1
        if not self.plugged_in:
            raise CameraLost(self.name, "not plugged in")

    def close(self) -> None:
        self.closed += 1

    def discard(self) -> None:
        self.discarded += 1

    def capture(self, shot: Shot) -> Frame:
        self.answering.wait()
        if not self.plugged_in:
            raise CameraLost(self.name, "cable pulled")
        if self.silent:
            raise CameraTimeout(self.name)
        if self.failure is not None:
            raise self.failure
        self._frame_number += self.skip
        return replace(super().capture(shot), complete=self.complete)


@contextmanager
def opened(*cameras: MemoryCamera, longest_backoff: float = 0.02) -> Iterator[StationViews]:
    views = StationViews("station 1", cameras, Backoff(first_seconds=0.01, longest_seconds=longest_backoff))
    views.open(PATIENCE_SECONDS)
    try:
        yield views
    finally:
        views.close(PATIENCE_SECONDS)


def shot(number: int, deadline_seconds: float = PATIENCE_SECONDS) -> Shot:
    return Shot(trigger_number=number, deadline_seconds=deadline_seconds, part_id=f"part {number}")


def failure_of(views: StationViews, asked: Shot) -> dict[str, InspectionFailed]:
    with pytest.raises(ViewsMissing) as raised:
        views.capture(asked)
    return raised.value.failures


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


def test_a_part_has_one_frame_of_each_camera_in_their_order() -> None:
    with opened(BenchCamera("top"), BenchCamera("left"), BenchCamera("right")) as views:
        frames = views.capture(shot(3))
        assert [frame.camera for frame in frames] == ["top", "left", "right"]
        assert all(frame.pixels is IMAGES[2] and frame.captured_at <= datetime.now(UTC) for frame in frames)
        assert {status.state for status in views.status().values()} == {CameraState.UP}
    assert {status.state for status in views.status().values()} == {CameraState.CLOSED}


def test_cameras_are_captured_at_the_same_time() -> None:
    together = threading.Barrier(3)

    class Meeting(MemoryCamera):
        def capture(self, shot: Shot) -> Frame:
            together.wait(PATIENCE_SECONDS)
            return super().capture(shot)

    with opened(*(Meeting(name, IMAGES) for name in "abc")) as views:
        assert len(views.capture(shot(1))) == 3


def test_one_missing_view_makes_the_whole_part_fail_and_is_named() -> None:
    lost, incomplete = BenchCamera("left"), BenchCamera("right")
    lost.plugged_in, incomplete.complete = False, False
    with opened(BenchCamera("top"), lost, incomplete) as views:
        with pytest.raises(ViewsMissing, match=r"station 1: camera left: .*not plugged in.*; camera right: ") as raised:
            views.capture(shot(1))
        failures = raised.value.failures
        assert isinstance(failures["left"], CameraLost) and isinstance(failures["right"], FrameIncomplete)
        assert set(failures) == {"left", "right"}


def test_two_cameras_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        StationViews("station 1", [BenchCamera("top"), BenchCamera("top")])


def test_a_lost_camera_comes_back_without_a_trigger() -> None:
    camera = BenchCamera("top")
    with opened(camera) as views:
        camera.plugged_in = False
        assert isinstance(failure_of(views, shot(1))["top"], CameraLost)
        status = views.status()["top"]
        assert status.state is CameraState.LOST and status.last_error == "camera top: cable pulled"
        wait_until(lambda: camera.opened > 3)
        camera.plugged_in = True
        wait_until(lambda: views.status()["top"].state is CameraState.UP)
        assert len(views.capture(shot(2))) == 1


def test_a_trigger_while_the_camera_is_lost_is_answered_at_once() -> None:
    camera = BenchCamera("top")
    camera.plugged_in = False
    views = StationViews("station 1", [camera], Backoff(first_seconds=3600, longest_seconds=3600))
    assert views.open(PATIENCE_SECONDS)["top"].state is CameraState.LOST
    assert "lost since" in str(failure_of(views, shot(1, deadline_seconds=3600))["top"])
    views.close(PATIENCE_SECONDS)
    assert camera.opened == 1


def test_a_hanging_camera_fails_its_view_and_holds_nobody() -> None:
    camera = BenchCamera("left")
    with opened(BenchCamera("top"), camera) as views:
        camera.answering.clear()
        failures = failure_of(views, shot(1, deadline_seconds=0.05))
        assert set(failures) == {"left"} and "did not answer trigger 1 within 0.05 s" in str(failures["left"])
        assert views.status()["left"].state is CameraState.LOST
        # Answered at once, though its deadline is an hour away.
        assert "still has not answered trigger 1" in str(failure_of(views, shot(2, deadline_seconds=3600))["left"])
        camera.answering.set()
        wait_until(lambda: camera.opened == 2 and views.status()["left"].state is CameraState.UP)
        assert [frame.pixels is IMAGES[2] for frame in views.capture(shot(3))] == [True, True]
        assert views.counts()["left"].late_frames == 1 and views.counts()["left"].missing == 2


def test_a_station_closes_though_a_camera_hangs() -> None:
    camera = BenchCamera("top")
    views = StationViews("station 1", [camera])
    views.open(PATIENCE_SECONDS)
    camera.answering.clear()
    failure_of(views, shot(1, deadline_seconds=0.01))
    views.close(timeout_seconds=0.01)
    assert camera.closed == 0
    camera.answering.set()
    wait_until(lambda: camera.closed > 0 and views.status()["top"].state is CameraState.CLOSED)


def test_opening_that_outlasts_the_deadline_takes_no_frame_of_the_next_part() -> None:
    opening = threading.Event()

    class Slow(BenchCamera):
        def open(self) -> None:
            opening.wait()
            super().open()

    camera = Slow("top")
    views = StationViews("station 1", [camera])
    assert views.open(0.01)["top"].state is CameraState.OPENING
    assert isinstance(failure_of(views, shot(1, deadline_seconds=0.01))["top"], CameraTimeout)
    opening.set()
    wait_until(lambda: views.status()["top"].state is CameraState.UP and views.counts()["top"].triggers == 1)
    assert views.capture(shot(2))[0].frame_number == 1
    assert camera.opened == 1
    views.close(PATIENCE_SECONDS)


def test_after_a_failed_trigger_what_is_buffered_is_discarded() -> None:
    camera = BenchCamera("top")
    with opened(camera) as views:
        camera.silent = True
        assert isinstance(failure_of(views, shot(1))["top"], CameraTimeout)
        assert camera.discarded == 1 and views.status()["top"].state is CameraState.UP


def test_a_camera_that_stays_silent_is_opened_anew() -> None:
    camera = BenchCamera("top")
    with opened(camera) as views:
        camera.silent = True
        for number in range(1, 4):
            failure_of(views, shot(number))
        wait_until(lambda: camera.opened == 2)


def test_a_gap_in_the_cameras_own_counter_fails_the_part_and_is_counted() -> None:
    camera = BenchCamera("top", counts_triggers=True)
    with opened(camera) as views:
        views.capture(shot(1))
        camera.skip = 1
        assert isinstance(failure_of(views, shot(2))["top"], FrameMismatch)
        camera.skip = 0
        views.capture(shot(3))
        count = views.counts()["top"]
        assert (count.triggers, count.frames, count.missing, count.mismatches) == (3, 2, 1, 1)


def test_a_free_running_camera_may_have_gaps() -> None:
    camera = BenchCamera("top", counts_triggers=False)
    camera.skip = 7
    with opened(camera) as views:
        for number in range(1, 4):
            views.capture(shot(number))
        assert views.counts()["top"].mismatches == 0


def test_an_older_frame_than_the_last_is_a_mismatch() -> None:
    count = FrameCount()
    frame = Frame("top", 5, datetime.now(UTC))
    count.accept(frame, counts_triggers=True)
    with pytest.raises(FrameMismatch, match="frame 5 after frame 5"):
        count.accept(frame, counts_triggers=True)
    count.restart()
    count.accept(frame, counts_triggers=True)


def test_an_unforeseen_error_reaches_the_worker() -> None:
    camera = BenchCamera("top")
    with opened(camera) as views:
        camera.failure = ZeroDivisionError("a bug in a driver")
        with pytest.raises(ZeroDivisionError):
            views.capture(shot(1))


def test_an_unforeseen_error_while_opening_reaches_the_worker() -> None:
    class Broken(MemoryCamera):
        def open(self) -> None:
            raise ZeroDivisionError("a bug in a driver")

    with opened(Broken("top", IMAGES)) as views:
        assert views.status()["top"].state is CameraState.LOST
        with pytest.raises(ZeroDivisionError):
            views.capture(shot(1))


def test_a_memory_camera_without_images_is_exhausted() -> None:
    with opened(MemoryCamera("top", [])) as views:
        assert isinstance(failure_of(views, shot(1))["top"], SourceExhausted)


def test_waiting_doubles_up_to_a_limit_and_is_scattered() -> None:
    backoff = Backoff(first_seconds=1, longest_seconds=8)
    for attempt, longest in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (1000, 8)]:
        delays = {backoff.delay_seconds(attempt) for _ in range(20)}
        assert all(longest / 2 <= delay <= longest for delay in delays) and len(delays) > 1


def test_a_station_is_live_when_one_camera_is() -> None:
    assert StationViews("station 1", [MemoryCamera("a", IMAGES), BenchCamera("b")]).is_live
    assert not StationViews("station 1", [MemoryCamera("a", IMAGES)]).is_live

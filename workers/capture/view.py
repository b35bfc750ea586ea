"""One camera of a station at work: its thread, its connection, its account of triggers and frames."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from storage.errors import (
    CameraError,
    CameraLost,
    CameraTimeout,
    FrameIncomplete,
    InspectionFailed,
)
from workers.capture.camera import Camera, Frame, Shot
from workers.capture.count import FrameCount
from workers.capture.status import Backoff, CameraState, CameraStatus

logger = logging.getLogger(__name__)

TIMEOUTS_UNTIL_LOST: Final = 3
"""After so many triggers in a row without a frame the camera is opened anew."""


class Look:
    """Asks the camera's thread to see whether the camera is still there."""


@dataclass(eq=False)
class Job:
    """A shot on its way to the camera's thread."""

    shot: Shot
    deadline: float
    answer: Future[Frame] = field(default_factory=Future)
    reached_camera: bool = False


class View:
    """Gives a camera a thread of its own, opens it again when it is lost, and never lets it hold up the station.

    A call that hangs inside a driver cannot be ended from outside, and a second thread in the same driver would make
    it worse: the camera counts as lost until the call returns, and every trigger meanwhile is answered at once.
    """

    def __init__(
        self, camera: Camera, backoff: Backoff | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.camera = camera
        self.count = FrameCount()
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._status = CameraStatus(CameraState.CLOSED, datetime.now(UTC))
        self._jobs: queue.SimpleQueue[Job | Look | None] = queue.SimpleQueue()
        self._hanging: Job | None = None
        self._crash: Exception | None = None
        self._lock = threading.Lock()
        self._attempted = threading.Event()
        self._failed_attempts = 0
        self._timeouts = 0
        self._retry_at = 0.0
        # A daemon, because a driver that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"camera {camera.name}", daemon=True)

    @property
    def status(self) -> CameraStatus:
        with self._lock:
            return self._status

    def start(self) -> None:
        self._set_state(CameraState.OPENING)
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Close the camera; give up waiting for a driver that hangs."""
        self._jobs.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def wait_attempted(self, timeout_seconds: float) -> CameraStatus:
        """Wait until opening was tried for the first time, well or badly."""
        self._attempted.wait(timeout_seconds)
        return self.status

    def request(self, shot: Shot) -> Job:
        """Ask for the frame of this trigger; the answer is a Frame or an InspectionFailed."""
        job = Job(shot, self._clock() + shot.deadline_seconds)
        with self._lock:
            hanging = self._hanging
        if self._crash is not None:
            job.answer.set_exception(self._crash)
        elif hanging is None:
            self._jobs.put(job)
        else:
            self.count.triggers += 1
            job.answer.set_exception(
                CameraLost(self.camera.name, f"still has not answered trigger {hanging.shot.trigger_number}")
            )
        return job

    def look(self) -> None:
        """Open it anew before the next trigger: something else says that it may be gone, or back."""
        self._jobs.put(Look())

    def give_up(self, job: Job) -> CameraTimeout:
        """Nobody waits for this answer any more: the camera is lost until its thread comes back."""
        error = CameraTimeout(
            self.camera.name,
            f"did not answer trigger {job.shot.trigger_number} within {job.shot.deadline_seconds:g} s",
        )
        with self._lock:
            if not job.answer.done():
                self._hanging = job
                self._status = CameraStatus(CameraState.LOST, datetime.now(UTC), str(error))
        return error

    def _run(self) -> None:
        try:
            self._serve()
            self.camera.close()
            self._set_state(CameraState.CLOSED)
        except Exception as error:  # the next request raises it, and that ends the process
            logger.exception("camera %s: its thread ended", self.camera.name)
            self._crash = error
            self._set_state(CameraState.LOST, repr(error))
            self._attempted.set()

    def _serve(self) -> None:
        self._connect()
        while True:
            try:
                job = self._jobs.get(timeout=self._patience_seconds())
            except queue.Empty:
                self._connect()
                continue
            if job is None:
                return
            if isinstance(job, Look):
                self._connect()
            else:
                self._answer(job)

    def _patience_seconds(self) -> float | None:
        if self.status.state is CameraState.UP:
            return None
        return max(0.0, self._retry_at - self._clock())

    def _answer(self, job: Job) -> None:
        outcome: Frame | BaseException
        try:
            outcome = self._capture(job)
        except Exception as error:  # goes to whoever asked, who knows what ends the process and what ends the part
            outcome = error
        with self._lock:
            came_back, self._hanging = self._hanging is not None, None
            if isinstance(outcome, BaseException):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)
        if came_back and job.reached_camera:
            # What the driver did meanwhile is anybody's guess; begin anew rather than trust its buffers.
            self._lose(CameraLost(self.camera.name, f"came back late from trigger {job.shot.trigger_number}"))
            self._connect()

    def _capture(self, job: Job) -> Frame:
        self.count.triggers += 1
        self._require_connection()
        if self._clock() > job.deadline:  # opening took too long: a frame taken now would show another part
            raise CameraTimeout(self.camera.name, f"ready only after {job.shot.deadline_seconds:g} s")
        job.reached_camera = True
        try:
            frame = self._checked(self.camera.capture(job.shot), job)
            self._timeouts = 0
            return frame
        except CameraLost as error:
            self._lose(error)
            raise
        except InspectionFailed as error:
            self._recover(error)
            raise

    def _checked(self, frame: Frame, job: Job) -> Frame:
        if self._clock() > job.deadline:
            self.count.late_frames += 1
            raise CameraTimeout(self.camera.name, f"frame later than {job.shot.deadline_seconds:g} s")
        if not frame.complete:
            raise FrameIncomplete(self.camera.name)
        self.count.accept(frame, self.camera.counts_triggers)
        return frame

    def _require_connection(self) -> None:
        if self.status.state is not CameraState.UP and self._clock() >= self._retry_at:
            self._connect()
        status = self.status
        if status.state is not CameraState.UP:
            raise CameraLost(
                self.camera.name, f"{status.state.value} since {status.since:%H:%M:%S}: {status.last_error}"
            )

    def _connect(self) -> None:
        try:
            self.camera.open()
        except CameraError as error:
            self._lose(error)
        else:
            if self._failed_attempts:
                logger.info("camera %s is back after %d attempts", self.camera.name, self._failed_attempts)
            self._failed_attempts = self._timeouts = 0
            self.count.restart()
            self._set_state(CameraState.UP)
        self._attempted.set()

    def _recover(self, error: InspectionFailed) -> None:
        self._timeouts = self._timeouts + 1 if isinstance(error, CameraTimeout) else 0
        if self._timeouts >= TIMEOUTS_UNTIL_LOST:
            self._lose(error)
            return
        try:
            self.camera.discard()
            self.count.restart()
        except CameraError as lost:
            self._lose(lost)

    def _lose(self, error: InspectionFailed) -> None:
        self._failed_attempts += 1
        self._timeouts = 0
        self._retry_at = self._clock() + self._backoff.delay_seconds(self._failed_attempts)
        self.camera.close()
        self._set_state(CameraState.LOST, str(error))
        if self._failed_attempts == 1:
            logger.warning("%s; it is tried again from now on", error)

    def _set_state(self, state: CameraState, error: str | None = None) -> None:
        with self._lock:
            if state is not self._status.state:
                self._status = CameraStatus(state, datetime.now(UTC), error or self._status.last_error)
            elif error is not None:
                self._status = CameraStatus(state, self._status.since, error)

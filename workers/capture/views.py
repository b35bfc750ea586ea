"""All cameras of a station, captured together: a part has all of its views or it is not inspected."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import wait
from typing import Final

from storage.errors import InspectionFailed, ViewsMissing
from workers.capture.camera import Camera, Frame, Shot
from workers.capture.count import FrameCount
from workers.capture.status import Backoff, CameraStatus
from workers.capture.view import Job, View

GRACE_SECONDS: Final = 0.25
"""A camera that notices the deadline itself says more than we can: let it speak first."""


class StationViews:
    """The cameras of one station, each in its own thread."""

    def __init__(self, station: str, cameras: Sequence[Camera], backoff: Backoff | None = None) -> None:
        self.station = station
        self._views = {camera.name: View(camera, backoff) for camera in cameras}
        if len(self._views) != len(cameras):
            raise ValueError(f"station {station}: two cameras have one name: {[camera.name for camera in cameras]}")

    @property
    def is_live(self) -> bool:
        """Whether a late capture would show another part."""
        return any(view.camera.is_live for view in self._views.values())

    def open(self, timeout_seconds: float = 10.0) -> dict[str, CameraStatus]:
        """Start all cameras and wait until each was tried once; those that are lost are tried again by themselves."""
        for view in self._views.values():
            view.start()
        until = time.monotonic() + timeout_seconds
        return {name: view.wait_attempted(until - time.monotonic()) for name, view in self._views.items()}

    def close(self, timeout_seconds: float = 5.0) -> None:
        until = time.monotonic() + timeout_seconds
        for view in self._views.values():
            view.stop(0)
        for view in self._views.values():
            view.stop(max(0.0, until - time.monotonic()))

    def capture(self, shot: Shot) -> list[Frame]:
        """One frame of each camera, in the order of the cameras; ViewsMissing names each one that failed."""
        jobs = {name: view.request(shot) for name, view in self._views.items()}
        wait([job.answer for job in jobs.values()], shot.deadline_seconds + GRACE_SECONDS)
        failures = {name: failure for name, job in jobs.items() if (failure := self._failure(name, job))}
        if failures:
            raise ViewsMissing(self.station, failures)
        return [job.answer.result() for job in jobs.values()]

    def look(self, names: Iterable[str]) -> None:
        """See whether these cameras are still there, before the next part."""
        for name in names:
            self._views[name].look()

    def status(self) -> dict[str, CameraStatus]:
        return {name: view.status for name, view in self._views.items()}

    def counts(self) -> dict[str, FrameCount]:
        """Triggers against frames, by camera."""
        return {name: view.count for name, view in self._views.items()}

    def _failure(self, name: str, job: Job) -> InspectionFailed | None:
        if not job.answer.done():
            return self._views[name].give_up(job)
        error = job.answer.exception()
        if error is None or isinstance(error, InspectionFailed):
            return error
        raise error

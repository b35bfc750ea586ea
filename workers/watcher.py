"""Watches whether frames and scores still are what they were when the model began."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from storage import drift
from storage.database import Database
from storage.drift import RecordedFrame
from storage.drift_models import DriftMeasurement, DriftReference
from storage.errors import DatabaseUnavailable, ImageAltered, ImageMissing, InspectionFailed
from storage.images import ImageStore, decode
from workers.consumer import Status
from workers.drift.diagnosis import Cause, Limits, Scores, confirmed, diagnose
from workers.drift.look import SIDE, look
from workers.drift.sample import FrameSample, Gathering, recorded

logger = logging.getLogger(__name__)

NICENESS: Final = 15  # parts come first
BEAT_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 0.02  # after each frame: a tick never holds a core for long

MODELS_AT_ONCE: Final = 2
"""A canary judges some parts of a camera, the champion the others."""

CameraKey = tuple[str, str, str]
"""Station, camera, model version."""


@dataclass
class Window:
    """Frames of one camera as one model version judged them, gathered until there are enough to compare."""

    recipe: str
    frames: Gathering = field(default_factory=Gathering)
    scores: list[float] = field(default_factory=list)
    projections: list[list[float]] = field(default_factory=list)
    ng_threshold: float = 1.0
    times: list[datetime] = field(default_factory=list)

    def add(self, frame: RecordedFrame, pixels: Any) -> None:
        self.frames.add(look(pixels, frame.width, frame.height))
        self.scores.append(frame.anomaly_score)
        if frame.projections is not None:
            self.projections.append(frame.projections)
        self.ng_threshold = frame.ng_threshold
        self.times.append(frame.captured_at)

    @property
    def span(self) -> tuple[datetime, datetime]:
        return min(self.times), max(self.times)


class Watcher:
    """Each interval a few recorded frames of each camera are measured; a full window is compared and written.

    What is gathered is lost with the process: the next frames fill another window.
    """

    def __init__(
        self,
        *,
        database_url: str,
        images: Path,
        interval_seconds: float,
        frames: int,
        window: int,
        limits: Limits,
        maximum_megapixels: float,
    ) -> None:
        self.database = Database(database_url, pool_size=2)
        self.store = ImageStore(images)
        self.interval_seconds, self.frames, self.size, self.limits = interval_seconds, frames, window, limits
        self.maximum_megapixels = maximum_megapixels
        self.windows: dict[CameraKey, Window] = {}
        self.wishes: dict[CameraKey, int | None] = {}
        self.since: datetime | None = None
        self.status = Status()

    def run(self, stop: threading.Event) -> None:
        os.nice(NICENESS)
        cv2.setNumThreads(1)
        self.status.set("running")
        while not self.wait(stop):
            try:
                self.tick(stop)
            except DatabaseUnavailable as error:
                self.status.set("held", str(error))
        self.database.close()
        self.status.set("stopped")

    def wait(self, stop: threading.Event) -> bool:
        """For the next tick; True when told to stop."""
        until = time.monotonic() + self.interval_seconds
        while (left := until - time.monotonic()) > 0 and not stop.wait(min(BEAT_SECONDS, left)):
            self.status.beat()
        return stop.is_set()

    def tick(self, stop: threading.Event) -> None:
        """Measure a few of the frames recorded since the last tick; compare the windows that are full."""
        with self.database.begin() as session:
            until = drift.clock(session)
            found = drift.drawn_frames(session, self.since or until, until, self.frames)
            self.since = until
        for frame in found:
            if stop.is_set():
                return
            self.measure(frame)
            self.status.beat()
            stop.wait(PAUSE_SECONDS)
        for key in [key for key, window in self.windows.items() if len(window.frames) >= self.size]:
            self.close(key, self.windows.pop(key))
        self.tell()

    def measure(self, frame: RecordedFrame) -> None:
        """A frame that is gone or altered is the audit's matter, not drift."""
        try:
            data = self.store.get(frame.sha256)
            pixels = decode(data, minimum_side=SIDE, maximum_megapixels=self.maximum_megapixels)
        except (ImageMissing, ImageAltered, InspectionFailed) as error:
            logger.warning("frame %s is not measured: %s", frame.sha256, error)
            return
        key = (frame.station, frame.camera, frame.model_version)
        window = self.windows.pop(key, None) or Window(frame.recipe)
        window.add(frame, pixels)
        self.windows[key] = window  # the last is the newest
        of_camera = [other for other in self.windows if other[:2] == key[:2]]
        for old in of_camera[:-MODELS_AT_ONCE]:
            del self.windows[old]  # that model judges no more: its window will never be full
        self.status.handled += 1

    def close(self, key: CameraKey, window: Window) -> None:
        """The first full window of a model is its reference; each later one is compared with it."""
        sample = window.frames.sample()
        with self.database.begin() as session:
            wish = drift.wish_for_reference(session, *key)
            if wish != self.wishes.setdefault(key, wish):
                self.wishes[key] = wish  # asked for while this window was filled: the next one is all of the new time
                return
            reference = drift.reference(session, *key)
            if reference is None:
                session.add(reference_row(key, window, sample, wish))
                logger.info("%s/%s: the reference for model %s is made", *key)
                return
            before = drift.last_measurement(session, *key[:2])
            measurement = self.compared(key, window, sample, reference)
            session.add(measurement)
            session.flush()
            cause = Cause(measurement.cause)
            if confirmed(Cause(before.cause) if before else None, cause):
                alarm = drift.raise_alarm(session, measurement, pauses_retraining=cause.is_camera)
                if alarm is not None:
                    logger.warning("drift alarm %d at %s/%s: %s", alarm.id, *key[:2], measurement.sentence)
        self.note(measurement)

    def compared(
        self, key: CameraKey, window: Window, sample: FrameSample, reference: DriftReference
    ) -> DriftMeasurement:
        facts = reference.facts
        diagnosis = diagnose(
            recorded(facts["frames"], reference.edges),
            sample,
            scores_of(facts["scores"], facts.get("projections"), window.ng_threshold),
            scores_of(window.scores, window.projections, window.ng_threshold),
            self.limits,
        )
        station, camera, model_version = key
        first_at, last_at = window.span
        return DriftMeasurement(
            station=station,
            camera=camera,
            recipe=window.recipe,
            model_version=model_version,
            reference=reference.id,
            frames=len(sample),
            first_at=first_at,
            last_at=last_at,
            cause=diagnosis.cause.value,
            sentence=diagnosis.sentence,
            psi=diagnosis.psi,
            ks=diagnosis.ks,
            figures=diagnosis.record(),
        )

    def note(self, measurement: DriftMeasurement) -> None:
        """For metrics: the newest of each camera."""
        known = dict(self.status.facts.get("drift", {}))  # type: ignore[call-overload]  # facts are objects
        known[f"{measurement.station}/{measurement.camera}"] = {
            "station": measurement.station,
            "camera": measurement.camera,
            "cause": measurement.cause,
            "psi": measurement.psi,
            "ks": measurement.ks,
            **{name: measurement.figures.get(name) for name in ("embedding_psi", "embedding_ks")},
        }
        self.status.facts["drift"] = known

    def tell(self) -> None:
        """The open alarms, for `adline status` and the metrics."""
        with self.database.begin() as session:
            alarms = drift.alarms(session)
        self.status.facts["drift_alarms"] = [
            {name: one[name] for name in ("alarm", "station", "camera", "cause")} for one in alarms
        ]
        self.status.set("running", in_words(alarms))


def scores_of(scores: list[float], projections: list[list[float]] | None, ng_threshold: float) -> Scores:
    """projections: None in a reference that is older than they are."""
    return Scores(np.array(scores), ng_threshold, np.array(projections) if projections else None)


def in_words(alarms: Sequence[Mapping[str, Any]]) -> str:
    if not alarms:
        return ""
    newest = alarms[0]
    more = f" (and {len(alarms) - 1} more)" if len(alarms) > 1 else ""
    return f"drift alarm {newest['alarm']} at {newest['station']}/{newest['camera']}: {newest['sentence']}{more}"


def reference_row(key: CameraKey, window: Window, sample: FrameSample, wish: int | None) -> DriftReference:
    station, camera, model_version = key
    first_at, last_at = window.span
    return DriftReference(
        station=station,
        camera=camera,
        recipe=window.recipe,
        model_version=model_version,
        after=wish,
        frames=len(sample),
        facts={"frames": sample.record(), "scores": window.scores, "projections": window.projections},
        edges=sample.edge_bytes(),
        first_at=first_at,
        last_at=last_at,
    )

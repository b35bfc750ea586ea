"""The map of the system: one row per worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from storage.events import (
    Event,
    FrameCaptured,
    InspectionCompleted,
    InspectionDecided,
    PartShadowed,
    PartTriggered,
)


@dataclass(frozen=True)
class Stage:
    """A kind of worker: what it reads and tells, and how many there are of it.

    `worker` is where its class is; only the actor's own process imports it, so that the line's process stays small.
    """

    name: str
    worker: str
    reads: tuple[type[Event], ...]
    tells: tuple[type[Event], ...]
    per: Literal["station", "replica", "line"]
    hot: bool = False
    vital: bool = True
    """Whether parts can only be inspected while it works."""


STAGES: Final = (
    Stage(
        "capture",
        "workers.capture.worker:CaptureWorker",
        reads=(PartTriggered,),
        tells=(FrameCaptured, InspectionDecided),
        per="station",
        hot=True,
    ),
    Stage(
        "inference",
        "workers.inference.worker:InferenceWorker",
        reads=(FrameCaptured,),
        tells=(InspectionDecided, PartShadowed),
        per="replica",
        hot=True,
    ),
    Stage(
        "record",
        "workers.recorder:Recorder",
        reads=(InspectionDecided, FrameCaptured, PartShadowed),
        tells=(InspectionCompleted, InspectionDecided, FrameCaptured),
        per="line",
    ),
    Stage("pages", "workers.labeling.worker:PagesWorker", reads=(), tells=(), per="line", vital=False),
    Stage("retrain", "workers.retrain.worker:RetrainWorker", reads=(), tells=(), per="line", vital=False),
    Stage("drift", "workers.watcher:Watcher", reads=(), tells=(), per="line", vital=False),
)
"""In the order of a part's journey, which is also the order of stopping."""

TEACHER: Final = Stage("teach", "workers.retrain.teacher:Teacher", reads=(), tells=(), per="line")
"""Runs before the first part of a recipe that has no model yet, and ends."""

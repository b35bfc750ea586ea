"""Events and rows as the tests tell them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import cv2
import numpy as np

from storage import records
from storage.database import Database
from storage.events import (
    FrameCaptured,
    FrameFacts,
    InspectionDecided,
    PredictionFacts,
    ReviewReason,
    Trigger,
    TriggerSource,
    Verdict,
    new_id,
    now,
)
from storage.models import ModelVersion

STATION, RECIPE, MODEL = "press", "bracket", "bracket-20260101-1"


@dataclass(frozen=True)
class Plant:
    """A database that knows a run, a station, a recipe and its deployed model."""

    database: Database
    run_id: UUID
    recipe_id: int

    def trigger(self, number: int = 1, **facts: Any) -> Trigger:
        told = {
            "inspection_id": new_id(),
            "station": STATION,
            "run_id": self.run_id,
            "trigger_number": number,
            "source": TriggerSource.SOFTWARE,
            "triggered_at": now(),
        }
        return Trigger.model_validate(told | facts)

    def captured(self, trigger: Trigger | None = None, *frames: FrameFacts) -> FrameCaptured:
        return FrameCaptured(
            trigger=trigger or self.trigger(),
            recipe=RECIPE,
            recipe_id=self.recipe_id,
            frames=frames or (frame(),),
            told_at=now(),
        )

    def decided(self, event: FrameCaptured | None = None, score: float = 0.2, **facts: object) -> InspectionDecided:
        event = event or self.captured()
        verdict = Verdict.NG if score >= 0.6 else Verdict.REVIEW if score >= 0.4 else Verdict.OK
        told = {
            "trigger": event.trigger,
            "recipe": event.recipe,
            "recipe_id": event.recipe_id,
            "frames": event.frames,
            "predictions": tuple(prediction(one, score) for one in event.frames),
            "verdict": verdict,
            "reason": f"score {score}",
            "review_reason": ReviewReason.UNCERTAIN if verdict is Verdict.REVIEW else None,
            "decided_at": now(),
        }
        return InspectionDecided.model_validate(told | facts)


def plant(database: Database) -> Plant:
    run_id = new_id()
    with database.begin() as session:
        records.open_run(session, run_id, "line-1", "test", "here", {})
        records.register_station(session, STATION, "line-1")
        recipe_id = records.register_recipe(session, RECIPE, {"image_size": 64})
        records.register_model(session, model(MODEL))
        records.deploy(session, RECIPE, MODEL, "test", "first")
    return Plant(database, run_id, recipe_id)


def model(id: str, **facts: object) -> ModelVersion:
    told = {
        "id": id,
        "recipe": RECIPE,
        "detector": "brightness",
        "sha256": hashlib.sha256(id.encode()).hexdigest(),
        "configuration": {},
        "ok_threshold": 0.4,
        "ng_threshold": 0.6,
        "metrics": {},
        "code_version": "test",
    }
    return ModelVersion(**told | facts)


def frame(camera: str = "top", data: bytes = b"image", **facts: object) -> FrameFacts:
    told = {
        "camera": camera,
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
        "size_bytes": len(data),
        "media_type": "image/png",
        "width": 64,
        "height": 48,
        "channels": 1,
        "bit_depth": 8,
        "frame_number": 1,
        "captured_at": now() - timedelta(milliseconds=5),
    }
    return FrameFacts.model_validate(told | facts)


def prediction(frame: FrameFacts, score: float, model_version: str = MODEL) -> PredictionFacts:
    return PredictionFacts(
        camera=frame.camera,
        sha256=frame.sha256,
        model_version=model_version,
        anomaly_score=score,
        raw_score=10 * score,
        ok_threshold=0.4,
        ng_threshold=0.6,
    )


def picture(shade: int, width: int = 64, height: int = 48) -> bytes:
    """A PNG of one shade of grey."""
    done, data = cv2.imencode(".png", np.full((height, width), shade, np.uint8))
    assert done
    return data.tobytes()

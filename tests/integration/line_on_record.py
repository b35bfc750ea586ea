"""A line's records, made through the same functions that the recorder calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from storage import records
from storage.database import Database
from storage.events import (
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
from storage.images import ImageStore
from storage.models import ModelVersion

MODEL = "bracket-20261123-1"
IMAGE_SIZE = 64
SCORES = {Verdict.OK: 0.1, Verdict.REVIEW: 0.5, Verdict.NG: 0.9}


def write_line(
    database: Database,
    images: Path,
    parts: list[tuple[str, str, Verdict, bytes]],
    *,
    model_sha256: str = "f" * 64,
    scores: dict[str, float] | None = None,
    metrics: dict[str, Any] | None = None,
    sample_rate: float = 0.0,
) -> list[UUID]:
    """One run of one station over these parts (part_id, lot, verdict, image); their inspections' ids."""
    store = ImageStore(images)
    run_id = new_id()
    with database.begin() as session:
        records.open_run(session, run_id, "line-1", "0.1.0", "plant-pc", {})
        records.register_station(session, "press", "line-1")
        recipe = {"detector": "patchcore", "image_size": IMAGE_SIZE, "sample_rate": sample_rate}
        recipe_id = records.register_recipe(session, "bracket", recipe)
        records.register_model(session, model_version(model_sha256, metrics))
        records.deploy(session, "bracket", MODEL, "anna", "first model")
        decided = [
            decision(store, run_id, recipe_id, number, part, (scores or {}).get(part[0], SCORES[part[2]]))
            for number, part in enumerate(parts, start=1)
        ]
        records.record_verdicts(session, decided)
    return [event.trigger.inspection_id for event in decided]


def model_version(sha256: str, metrics: dict[str, Any] | None = None, id: str = MODEL) -> ModelVersion:
    return ModelVersion(
        id=id,
        recipe="bracket",
        detector="patchcore",
        sha256=sha256,
        configuration={},
        ok_threshold=0.4,
        ng_threshold=0.6,
        metrics=metrics or {},
        code_version="0.1.0",
    )


def decision(
    store: ImageStore, run_id: UUID, recipe_id: int, number: int, part: tuple[str, str, Verdict, bytes], score: float
) -> InspectionDecided:
    part_id, lot, verdict, data = part
    stored = store.put(data, ".png")
    frame = FrameFacts(
        camera="top",
        sha256=stored.sha256,
        md5=stored.md5,
        size_bytes=stored.size_bytes,
        media_type="image/png",
        width=4,
        height=4,
        channels=1,
        bit_depth=8,
        frame_number=number,
        captured_at=now(),
    )
    prediction = PredictionFacts(
        camera="top",
        sha256=stored.sha256,
        model_version=MODEL,
        anomaly_score=score,
        raw_score=1.0,
        ok_threshold=0.4,
        ng_threshold=0.6,
        probabilities={"percentile_of_good": 97.5},
    )
    trigger = Trigger(
        inspection_id=new_id(),
        station="press",
        run_id=run_id,
        trigger_number=number,
        source=TriggerSource.SOFTWARE,
        triggered_at=now(),
        part_id=part_id,
        lot=lot,
    )
    return InspectionDecided(
        trigger=trigger,
        recipe="bracket",
        recipe_id=recipe_id,
        frames=(frame,),
        predictions=(prediction,),
        verdict=verdict,
        reason=f"score judged {verdict}",
        review_reason=ReviewReason.UNCERTAIN if verdict == Verdict.REVIEW else None,
        decided_at=now(),
    )

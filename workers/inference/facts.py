"""From a detector's answer to what is told of it."""

from __future__ import annotations

from math import isfinite

import numpy as np

from storage.errors import InspectionFailed, ScoreInvalid
from storage.events import FrameFacts, PredictionFacts
from workers.detectors.calibration import comparable
from workers.detectors.detector import Prediction
from workers.drift.projection import projected
from workers.inference.champions import Champion


def facts_of(frame: FrameFacts, prediction: Prediction, champion: Champion) -> PredictionFacts:
    return PredictionFacts(
        camera=frame.camera,
        sha256=frame.sha256,
        model_version=champion.version.id,
        anomaly_score=prediction.anomaly_score,
        raw_score=prediction.raw_score,
        ok_threshold=champion.thresholds.ok,
        ng_threshold=champion.thresholds.ng,
        probabilities={**prediction.probabilities, **comparable(champion.detector.calibration, prediction.raw_score)},
        deployment_id=champion.deployment_id,
        worker=champion.worker,
        projections=projected(prediction.embedding, champion.version.id),
    )


def embedding_bytes(prediction: Prediction) -> bytes | None:
    """float32, little endian; None where there is none, or no distance to it."""
    embedding = prediction.embedding
    if embedding is None or not np.isfinite(embedding).all() or not embedding.any():
        return None
    return embedding.astype("<f4").tobytes()


def checked(answer: Prediction | InspectionFailed) -> Prediction | InspectionFailed:
    """Whatever the detector: a part is judged by numbers only."""
    if isinstance(answer, InspectionFailed):
        return answer
    numbers = (answer.raw_score, *answer.probabilities.values())
    if 0.0 <= answer.anomaly_score <= 1.0 and all(map(isfinite, numbers)) and np.isfinite(answer.anomaly_map).all():
        return answer
    return ScoreInvalid(f"the detector answered {answer.anomaly_score} (raw {answer.raw_score}), or a map with gaps")

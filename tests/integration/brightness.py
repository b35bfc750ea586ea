"""A detector for the tests: the brighter, the worse. It answers as its shades tell it to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from storage.errors import InspectionFailed, ScoreInvalid
from workers.detectors.detector import Calibration, Image, Prediction

CALIBRATION = Calibration((0.1,), 0.05, 0.05, 0.1, 0.6, 0.4, (0.0, 0.1))
REFUSED, NOT_A_NUMBER, CRASH = 201, 202, 203


@dataclass
class Brightness:
    """anomaly_score is the mean shade over 250; some shades stand for what a detector may do wrong."""

    version: str = "1"
    name: str = "brightness"
    image_size: int = 32
    ok_threshold: float = 0.4
    ng_threshold: float = 0.6
    calibration: Calibration = CALIBRATION
    batches: list[int] = field(default_factory=list)

    def predict(self, images: Sequence[Image]) -> list[Prediction | InspectionFailed]:
        self.batches.append(len(images))
        return [self.score(float(np.mean(image))) for image in images]

    def score(self, shade: float) -> Prediction | InspectionFailed:
        if shade == CRASH:
            raise MemoryError("the detector crashed")
        if shade == REFUSED:
            return ScoreInvalid("the raw score is not a number")
        score = float("nan") if shade == NOT_A_NUMBER else shade / 250
        return Prediction(score, shade, np.full((4, 4), shade / 250, np.float32))

    def save(self, folder: Path) -> str:
        raise NotImplementedError("this detector is made, not loaded")

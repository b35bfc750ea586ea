"""What every detector promises: prediction of frames, and a model file that can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.errors import InspectionFailed

Image = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W) grey or (H, W, 3) BGR, 8 or 16 bit: what `storage.images.decode` returns."""


@dataclass(frozen=True)
class Prediction:
    """What a detector said of one image.

    anomaly_score is in [0, 1], higher is worse: 0.5 is the calibrated threshold (target false-reject rate) and the
    scale is monotone in raw_score. anomaly_map is (h, w) float32 in the detector's own resolution, on the same scale.
    """

    anomaly_score: float
    raw_score: float
    anomaly_map: NDArray[np.float32]
    probabilities: dict[str, float] = field(default_factory=dict)
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Calibration:
    """How raw scores of held-out known-good parts became thresholds; kept with the model, shown to the auditor.

    Raw scores are sorted. A part is NG at or above raw_threshold and OK below raw_ok_threshold; the false-reject rate
    of parts to come lies in false_reject_interval with 95 % confidence, whatever the distribution of their scores.
    That is exact where one model scored the held-out parts and scores those to come; by_turns, it is nearly so: each
    held-out part was scored by a model without it, and the one that judges parts to come learned from all.
    Where a part was held out with several images, good_parts numbers the part of each score; () is one image a part.
    """

    good_raw_scores: tuple[float, ...]
    target_false_reject_rate: float
    review_share: float
    raw_centre: float
    raw_threshold: float
    raw_ok_threshold: float
    false_reject_interval: tuple[float, float]
    good_parts: tuple[int, ...] = ()
    by_turns: bool = False


class Detector(Protocol):
    """A model ready to score: one per inference worker, called from one thread."""

    name: str
    version: str
    image_size: int
    """Pixels of the square input; a frame is decoded no smaller than this on either side."""
    calibration: Calibration

    @property
    def ng_threshold(self) -> float:
        """The anomaly_score from which a part is NG."""
        ...

    @property
    def ok_threshold(self) -> float:
        """The anomaly_score below which a part is OK; between the two it is REVIEW."""
        ...

    def predict(self, images: Sequence[Image]) -> list[Prediction | InspectionFailed]:
        """Score a batch; images may differ in size. One answer per image, in order.

        An image that cannot be scored gets its error as its answer, and the others are scored all the same.
        A score does not depend on the batch.
        """
        ...

    def save(self, folder: Path) -> str:
        """Write weights.safetensors and model.yaml into the folder; return the artefact's SHA-256."""
        ...


Configuration = dict[str, Any]

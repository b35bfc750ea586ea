"""Where a part's score lies among those of known-good parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.detectors.calibration import anomaly_score, weights
from workers.detectors.detector import Calibration

BINS = 40


@dataclass(frozen=True)
class Distribution:
    """Held-out known-good parts by anomaly_score, in bins of equal width from 0 to 1.

    percentile: how many per cent of them score lower than this part; None where no part was held out.
    """

    good: list[float]
    percentile: float | None


def distribution(described: Mapping[str, Any], score: float) -> Distribution:
    """described: the calibration as it is kept with the model version. Images of one part share its weight of one."""
    low, high = described["false_reject_interval"]
    scores, parts = tuple(described["good_raw_scores"]), tuple(described.get("good_parts", ()))
    read = {"good_raw_scores": scores, "good_parts": parts, "false_reject_interval": (low, high)}
    calibration = Calibration(**{**described, **read})
    shown = anomaly_score(calibration, np.asarray(scores, dtype=np.float64))
    share = weights(np.asarray(parts or range(len(scores)), dtype=np.int64))
    heights, _ = np.histogram(shown, bins=BINS, range=(0.0, 1.0), weights=share)
    lower = 100 * share[shown < score].sum() / share.sum() if len(shown) else None
    return Distribution(heights.tolist(), lower)

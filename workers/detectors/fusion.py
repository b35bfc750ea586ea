"""One score of all: how far out the one-class detector finds a part, and what head, summary and tail learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any] | float
SMALLEST = 1e-9  # a score of exactly 0 or 1 is as far out as one can be


@dataclass(frozen=True)
class Fusion:
    """The logit of being defective: offset + distance_weight * distance + head_weight * the head's logit
    + summary_weight * the summary's margin + tail_weight * the tail's logit.

    Platt scaling of all scores at once (Platt, "Probabilistic Outputs for Support Vector Machines", 1999), learned
    from parts none of them has seen. Strictly rising in the distance; without the others the one-class ranking.
    """

    offset: float
    distance_weight: float
    head_weight: float
    summary_weight: float
    tail_weight: float = 0.0

    @property
    def hears_labels(self) -> bool:
        """Whether what was learned from labels has a say."""
        return bool(self.head_weight or self.summary_weight or self.tail_weight)

    def raw(self, anomaly_score: Values, head: Values, margin: Values, tail: Values = 0.0) -> NDArray[np.float64]:
        """anomaly_score is the one-class detector's, in [0, 1], of images or of patches."""
        learned = self.head_weight * head + self.summary_weight * margin + self.tail_weight * tail
        return np.asarray(self.offset + self.distance_weight * distance(anomaly_score) + learned, np.float64)


def distance(anomaly_score: Values) -> NDArray[np.float64]:
    """From the one-class threshold, in spreads of its known-good parts; far out it grows as their logarithm.

    Independent of the kind of detector, and bounded enough that one broken part does not decide the weights.
    """
    signed = 2 * np.asarray(anomaly_score, np.float64) - 1
    return np.asarray(np.arcsinh(signed / np.maximum(1 - np.abs(signed), SMALLEST)))


def probability(raw: float) -> float:
    """Of being defective, among parts like those that were labelled."""
    return float(0.5 * (1 + np.tanh(raw / 2)))

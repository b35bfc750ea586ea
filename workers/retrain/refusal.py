"""Why a candidate is refused before it is judged: its file or its labels; `camera.py` tells of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from storage.errors import ModelError
from workers.detectors import artefact
from workers.detectors.telling import Told
from workers.retrain.resampling import Interval

FEWEST: Final = 30
"""Labels, and protected parts, below which nothing can be said of label noise."""
FOLDS: Final = 5
REPEATS: Final = 4
COMPONENTS: Final = 32

Vectors = NDArray[np.float64]
Truth = NDArray[np.bool_]


def altered(folder: Path, sha256: str) -> str | None:
    """Why the artefact is not the one that was trained."""
    try:
        artefact.read(folder, sha256)
    except ModelError as error:
        return f"the candidate's file is not what was trained: {error}"
    return None


@dataclass(frozen=True)
class LabelNoise:
    """How many training labels are wrong: against what images like them say, less what that is wrong about itself."""

    rate: float
    interval: Interval
    labels: int

    def refused(self, most: float) -> str | None:
        if self.rate <= most or self.interval.low <= 0:
            return None
        low, high = (f"{100 * bound:.0f}" for bound in self.interval)
        return (
            f"{100 * self.rate:.0f} % of the {self.labels} training labels contradict their neighbours "
            f"({low} to {high} %); at most {100 * most:g} % are allowed"
        )


def label_noise(
    vectors: Vectors,
    is_anomaly: Truth,
    groups: Sequence[str],
    pool_vectors: Vectors,
    pool_is_anomaly: Truth,
    seed: int = 0,
    told: Told | None = None,
) -> LabelNoise | None:
    """None where there are too few labels to tell.

    vectors: (labels, channels), an embedding of each labelled image; images of one part have the same group. The
    protected pool's truth is believed. A judge that learned from the labels is wrong about a share e of the pool; of
    labels it did not see, of which a share n is flipped, it contradicts e (1 - n) + (1 - e) n: so n can be told from e.
    The two classes weigh the same on both sides, because a queue asks for other parts than the pool has.
    """
    counts = [int((truth == kind).sum()) for truth in (is_anomaly, pool_is_anomaly) for kind in (True, False)]
    if min(counts) < FEWEST / 2 or len(set(groups)) < FEWEST:
        return None
    contradicted, wrong = np.zeros(len(is_anomaly)), np.zeros(len(pool_is_anomaly))
    for repeat in range(REPEATS):
        if told is not None:
            told(repeat / REPEATS)
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed + repeat)
        for learned, judged in folds.split(vectors, is_anomaly, groups):
            judge = learner().fit(vectors[learned], is_anomaly[learned])
            contradicted[judged] += (judge.predict(vectors[judged]) != is_anomaly[judged]) / REPEATS
            # The pool is judged by learners that saw as few labels as those that judge the labels.
            wrong += (judge.predict(pool_vectors) != pool_is_anomaly) / (REPEATS * FOLDS)
    contradiction, variance = balanced(contradicted, is_anomaly)
    mistake, mistake_variance = balanced(wrong, pool_is_anomaly)
    mistake = min(mistake, 0.45)  # a judge no better than a coin tells nothing
    rate = (contradiction - mistake) / (1 - 2 * mistake)
    slope = (2 * contradiction - 1) / (1 - 2 * mistake) ** 2  # of the rate with the mistake
    deviation = float(np.sqrt(variance / (1 - 2 * mistake) ** 2 + mistake_variance * slope**2))
    low, high = (min(max(rate + side * 1.96 * deviation, 0.0), 0.5) for side in (-1, 1))
    return LabelNoise(float(min(max(rate, 0.0), 0.5)), Interval(low, high), len(is_anomaly))


def learner() -> Pipeline:
    """Few directions and heavy shrinkage: it must not learn single labels by heart."""
    return make_pipeline(
        StandardScaler(),
        PCA(COMPONENTS, svd_solver="full"),
        StandardScaler(),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
    )


def balanced(marked: Vectors, is_anomaly: Truth) -> tuple[float, float]:
    """The mean of both classes' rates of what is marked, and its variance."""
    rates = [float(marked[is_anomaly == kind].mean()) for kind in (True, False)]
    variances = [
        max(rate * (1 - rate), 0.01) / int((is_anomaly == kind).sum())
        for rate, kind in zip(rates, (True, False), strict=True)
    ]
    return sum(rates) / 2, sum(variances) / 4

"""How far each label is from what images like it were called.

Three estimates, none of which sees the label it judges: a linear classifier of the embeddings, cross-fitted by part; a
vote of the nearest images of other parts; and the score of the model that judged the part before it had the label.
Their mean errs less than each. After Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels", JAIR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler, normalize

from storage.snapshot_models import ItemSource
from workers.snapshots.row import Row

FEWEST: Final = 10  # parts of either class
FOLDS: Final = 5
COMPONENTS: Final = 64
NEIGHBOURS: Final = 15
STRENGTH: Final = 0.05  # inverse of the regularisation: labels may be wrong
SCORE_STRENGTH: Final = 1.0

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Doubts:
    """probabilities: of an anomaly, by the other images, for each row."""

    rows: Sequence[Row]
    probabilities: Numbers

    def strongly(self, among: AbstractSet[str], bound: float) -> int:
        """How many labels of these images others give less than this probability."""
        return sum(
            (probability if row.is_anomaly else 1 - probability) < bound
            for row, probability in zip(self.rows, self.probabilities, strict=True)
            if row.sha256 in among
        )


def doubts(rows: Sequence[Row], groups: Sequence[str], seed: int) -> Doubts | None:
    """None where there are too few parts of a class to say anything. Each row has a look."""
    truth = np.array([row.is_anomaly for row in rows], bool)
    classes = [
        {group for group, is_anomaly in zip(groups, truth, strict=True) if is_anomaly is value} for value in BOTH
    ]
    if min(map(len, classes)) < FEWEST:
        return None
    embeddings = np.array([row.look.embedding for row in rows if row.look is not None], np.float64)
    count = min(COMPONENTS, len(rows) // 4, embeddings.shape[1])
    seen = PCA(count, random_state=0).fit_transform(StandardScaler().fit_transform(embeddings))
    estimates = [fitted(seen, truth, groups, seed, STRENGTH), voted(seen, truth, groups)]
    if (by_score := scored(rows, truth, groups, seed)) is not None:
        estimates.append(by_score)
    return Doubts(rows, np.mean(estimates, axis=0))


BOTH: Final = (np.False_, np.True_)


def fitted(seen: Numbers, truth: NDArray[np.bool_], groups: Sequence[str], seed: int, strength: float) -> Numbers:
    """By a linear classifier that was taught from other parts."""
    found = np.zeros(len(truth))
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for taught, judged in splitter.split(seen, truth, groups):
        if len(set(truth[taught])) < len(BOTH):
            found[judged] = 0.5
            continue
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
        found[judged] = model.fit(seen[taught], truth[taught]).predict_proba(seen[judged])[:, 1]
    return found


def voted(seen: Numbers, truth: NDArray[np.bool_], groups: Sequence[str]) -> Numbers:
    """By the nearest images of other parts, each class weighing as much as the other."""
    directions = normalize(seen)
    names = np.unique(np.array(groups), return_inverse=True)[1]
    shares = np.array([np.count_nonzero(~truth), np.count_nonzero(truth)])
    found = np.zeros(len(truth))
    for place, direction in enumerate(directions):
        likeness = directions @ direction
        likeness[names == names[place]] = -np.inf
        nearest = np.argsort(-likeness, kind="stable")[:NEIGHBOURS]
        anomalies = np.count_nonzero(truth[nearest]) / shares[1]
        goods = np.count_nonzero(~truth[nearest]) / shares[0]
        found[place] = anomalies / (anomalies + goods)
    return found


def scored(rows: Sequence[Row], truth: NDArray[np.bool_], groups: Sequence[str], seed: int) -> Numbers | None:
    """By the model's score alone; what the recipe is taught from is normal. None where scores are missing."""
    labelled = [place for place, row in enumerate(rows) if row.source is not ItemSource.TAUGHT]
    given = [score for place in labelled if (score := rows[place].anomaly_score) is not None]
    if len(given) < len(labelled):
        return None
    places = np.array(labelled, np.int64)
    chosen = [groups[place] for place in places]
    if (
        min(
            len({group for group, place in zip(chosen, places, strict=True) if truth[place] is value}) for value in BOTH
        )
        < FEWEST
    ):
        return None
    scores = np.clip(given, 1e-4, 1 - 1e-4)
    odds = np.log(scores / (1 - scores))
    found = np.zeros(len(rows))
    found[places] = fitted(StandardScaler().fit_transform(odds[:, None]), truth[places], chosen, seed, SCORE_STRENGTH)
    return found

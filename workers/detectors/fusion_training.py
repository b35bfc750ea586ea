"""How much the head has earned to say: learned from scores of parts that were held out of its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from workers.detectors.fusion import Fusion, distance

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]

DRAWS = 400
STANDARD_ERROR = 0.16  # the quantile one standard deviation below the mean
LEAST_DISTANCE_WEIGHT = 1e-3  # a part that is farther out never scores lower


@dataclass(frozen=True)
class Evidence:
    """What held-out labelled parts say of the fusion; kept with the model. AUROC over images."""

    good: int
    defective: int
    auroc_one_class: float
    auroc_head: float
    auroc_fused: float
    brier: float
    """Mean squared error of the probability."""
    head_helps: bool
    """Ranks better than the one-class score by more than a standard error, parts drawn again."""


def learn(
    scores: Floats, head: Floats, is_anomaly: Truth, groups: Sequence[str], seed: int, *, may_help: bool
) -> tuple[Fusion, Evidence]:
    """scores are the one-class detector's, head the head's logits out of fold, one for each labelled image.

    may_help is false where the head could not be calibrated: then only the one-class score counts.
    """
    features = np.stack([distance(scores), head], 1)
    numbers = numbered(groups)
    fused = cross_fitted(features, is_anomaly, numbers, seed)
    helps = may_help and ranks_better(fused, scores, is_anomaly, numbers, seed)
    if not helps:
        fused = cross_fitted(features[:, :1], is_anomaly, numbers, seed)
    evidence = Evidence(
        good=int((~is_anomaly).sum()),
        defective=int(is_anomaly.sum()),
        auroc_one_class=float(roc_auc_score(is_anomaly, scores)),
        auroc_head=float(roc_auc_score(is_anomaly, head)),
        auroc_fused=float(roc_auc_score(is_anomaly, fused if helps else scores)),
        brier=float(np.mean((1 / (1 + np.exp(-fused)) - is_anomaly) ** 2)),
        head_helps=helps,
    )
    return fitted(features if helps else features[:, :1], is_anomaly), evidence


def numbered(groups: Sequence[str]) -> NDArray[np.int64]:
    """Each image's group as a number from 0."""
    return np.asarray(np.unique(np.asarray(groups), return_inverse=True)[1], np.int64)


def fitted(features: Floats, is_anomaly: Truth) -> Fusion:
    """Logistic regression whose weights are not negative: more of an anomaly is never less."""
    model = LogisticRegression().fit(features, is_anomaly)
    weights = model.coef_[0]
    if len(weights) == 2 and weights[1] <= 0:
        return fitted(features[:, :1], is_anomaly)
    if weights[0] < LEAST_DISTANCE_WEIGHT:
        held = LEAST_DISTANCE_WEIGHT * features[:, 0]
        return refitted_without_distance(features, is_anomaly, held)
    return Fusion(float(model.intercept_[0]), float(weights[0]), float(weights[1]) if len(weights) == 2 else 0.0)


def refitted_without_distance(features: Floats, is_anomaly: Truth, held: Floats) -> Fusion:
    """The distance contradicts the labels: it keeps a say too small to matter, so that no two parts tie."""
    if features.shape[1] == 1:
        rate = is_anomaly.mean()
        return Fusion(float(np.log(rate / (1 - rate)) - held.mean()), LEAST_DISTANCE_WEIGHT, 0.0)
    model = LogisticRegression().fit(features[:, 1:], is_anomaly)
    return Fusion(float(model.intercept_[0] - held.mean()), LEAST_DISTANCE_WEIGHT, float(model.coef_[0, 0]))


def cross_fitted(features: Floats, is_anomaly: Truth, groups: NDArray[np.int64], seed: int) -> Floats:
    """Logits of parts that had no part in the weights."""
    logits = np.zeros(len(is_anomaly))
    for learned, judged in folds(is_anomaly, groups, 5, seed):
        fusion = fitted(features[learned], is_anomaly[learned])
        head = features[judged, 1] if features.shape[1] == 2 else 0.0
        logits[judged] = fusion.offset + fusion.distance_weight * features[judged, 0] + fusion.head_weight * head
    return logits


def folds(
    is_anomaly: Truth, groups: NDArray[np.int64], count: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Groups stay together; as many folds as the rarer class has groups, at most count."""
    rarer = min(len(np.unique(groups[is_anomaly])), len(np.unique(groups[~is_anomaly])))
    splitter = StratifiedGroupKFold(max(2, min(count, rarer)), shuffle=True, random_state=seed)
    parted = list(splitter.split(groups, is_anomaly, groups))
    # The splitter balances; it does not promise that both classes are left to learn from.
    return [(learned, judged) for learned, judged in parted if len(np.unique(is_anomaly[learned])) == 2]


def ranks_better(fused: Floats, scores: Floats, is_anomaly: Truth, groups: NDArray[np.int64], seed: int) -> bool:
    """Parts are drawn again with all their images; the lift in AUROC must survive one standard error."""
    draw = np.random.default_rng(seed)
    places = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    lifts = []
    for _ in range(DRAWS):
        drawn = np.concatenate([places[group] for group in draw.integers(len(places), size=len(places))])
        truth = is_anomaly[drawn]
        if truth.any() and not truth.all():
            lifts.append(float(roc_auc_score(truth, fused[drawn]) - roc_auc_score(truth, scores[drawn])))
    return float(np.quantile(lifts, STANDARD_ERROR)) > 0

"""How much the head has earned to say: learned from scores of parts that were held out of its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from workers.detectors.fusion import Fusion, distance

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]

DRAWS = 400
DOUBT = 0.25  # the head is heard when its gain is real in three of four draws
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
    """Makes the probability better than the one-class score alone can, in most draws of the parts."""


def learn(
    scores: Floats,
    head: Floats,
    is_anomaly: Truth,
    weights: Floats,
    groups: Sequence[str],
    seed: int,
    *,
    may_help: bool,
) -> tuple[Fusion, Evidence]:
    """scores are the one-class detector's, head the head's logits out of fold, one for each labelled image.

    weights say how many parts to come an image stands for. may_help is false where the head could not be calibrated:
    then only the one-class score counts.
    """
    features = np.stack([distance(scores), head], 1)
    alone, numbers = features[:, :1], numbered(groups)
    fused, below = (cross_fitted(one, is_anomaly, weights, numbers, seed) for one in (features, alone))
    gains = weights * (log_loss(below, is_anomaly) - log_loss(fused, is_anomaly))
    helps = may_help and is_sure(gains, numbers, seed)
    logits = fused if helps else below
    evidence = Evidence(
        good=int((~is_anomaly).sum()),
        defective=int(is_anomaly.sum()),
        auroc_one_class=float(roc_auc_score(is_anomaly, scores)),
        auroc_head=float(roc_auc_score(is_anomaly, head)),
        auroc_fused=float(roc_auc_score(is_anomaly, fused if helps else scores)),
        brier=float(np.average((expit(logits) - is_anomaly) ** 2, weights=weights)),
        head_helps=helps,
    )
    return fitted(features if helps else alone, is_anomaly, weights), evidence


def numbered(groups: Sequence[str]) -> NDArray[np.int64]:
    """Each image's group as a number from 0."""
    return np.asarray(np.unique(np.asarray(groups), return_inverse=True)[1], np.int64)


def fitted(features: Floats, is_anomaly: Truth, importance: Floats) -> Fusion:
    """Logistic regression whose weights are not negative: more of an anomaly is never less."""
    model = LogisticRegression().fit(features, is_anomaly, importance)
    weights = model.coef_[0]
    if len(weights) == 2 and weights[1] <= 0:
        return fitted(features[:, :1], is_anomaly, importance)
    if weights[0] < LEAST_DISTANCE_WEIGHT:
        held = LEAST_DISTANCE_WEIGHT * features[:, 0]
        return refitted_without_distance(features, is_anomaly, importance, held)
    return Fusion(float(model.intercept_[0]), float(weights[0]), float(weights[1]) if len(weights) == 2 else 0.0)


def refitted_without_distance(features: Floats, is_anomaly: Truth, importance: Floats, held: Floats) -> Fusion:
    """The distance contradicts the labels: it keeps a say too small to matter, so that no two parts tie."""
    if features.shape[1] == 1:
        rate = np.average(is_anomaly, weights=importance)
        return Fusion(float(np.log(rate / (1 - rate)) - held.mean()), LEAST_DISTANCE_WEIGHT, 0.0)
    model = LogisticRegression().fit(features[:, 1:], is_anomaly, importance)
    return Fusion(float(model.intercept_[0] - held.mean()), LEAST_DISTANCE_WEIGHT, float(model.coef_[0, 0]))


def cross_fitted(features: Floats, is_anomaly: Truth, weights: Floats, groups: NDArray[np.int64], seed: int) -> Floats:
    """Logits of parts that had no part in the weights."""
    logits = np.zeros(len(is_anomaly))
    for learned, judged in folds(is_anomaly, groups, 5, seed):
        fusion = fitted(features[learned], is_anomaly[learned], weights[learned])
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


def log_loss(logits: Floats, is_anomaly: Truth) -> Floats:
    return np.asarray(np.logaddexp(0, np.where(is_anomaly, -logits, logits)))


def is_sure(gains: Floats, groups: NDArray[np.int64], seed: int) -> bool:
    """Whether there is a gain when parts are drawn again, with all their images."""
    of_a_group = np.bincount(groups, gains)
    drawn = np.random.default_rng(seed).integers(len(of_a_group), size=(DRAWS, len(of_a_group)))
    return float(np.quantile(of_a_group[drawn].sum(1), DOUBT)) > 0

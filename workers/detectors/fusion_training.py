"""How much head, summary and tail have earned to say: learned from scores of parts held out of their training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from workers.detectors.fusion import Fusion, distance

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Places to learn from and places to judge."""

DRAWS = 400
DOUBT = 0.5  # what was learned from labels is heard when its gain is real in more than half of the draws
SHRINKAGE = 1.0  # of weights per standard deviation: a say is earned part by part
LEAST_DISTANCE_WEIGHT = 1e-3  # a part that is farther out never scores lower


@dataclass(frozen=True)
class Evidence:
    """What held-out labelled parts say of the fusion; kept with the model. AUROC over images."""

    good: int
    defective: int
    auroc_one_class: float
    auroc_head: float
    auroc_summary: float
    auroc_tail: float | None
    """None where nothing was fine-tuned."""
    auroc_fused: float
    brier: float
    """Mean squared error of the probability."""
    labels_help: bool
    """Makes the probability better than the one-class score alone can, in most draws of the parts."""


def learn(
    scores: Floats,
    head: Floats,
    margins: Floats,
    is_anomaly: Truth,
    weights: Floats,
    groups: Sequence[str],
    seed: int,
    *,
    parted: Sequence[Fold],
    may_help: bool,
    tail: Floats | None = None,
) -> tuple[Fusion, Evidence]:
    """scores are the one-class detector's; the head's and the tail's logits and the summary's margins are out of fold.

    The tail has a say only where the others do worse without. weights say how many parts to come an image stands for.
    parted: the folds that how much each may say is judged by.
    may_help is false where the fused score could not be calibrated: then only the one-class score counts.
    """
    features = np.stack([distance(scores), head, margins], 1)
    numbers = numbered(groups)
    fused, below = (cross_fitted(one, is_anomaly, weights, parted) for one in (features, features[:, :1]))

    def better(before: Floats, after: Floats) -> bool:
        gains = weights * (log_loss(before, is_anomaly) - log_loss(after, is_anomaly))
        return is_likely(gains, numbers, seed)

    if tail is not None:
        wider = np.column_stack([features, tail])
        tuned = cross_fitted(wider, is_anomaly, weights, parted)
        if better(fused, tuned):
            features, fused = wider, tuned
    helps = may_help and better(below, fused)
    logits = fused if helps else below
    evidence = Evidence(
        good=int((~is_anomaly).sum()),
        defective=int(is_anomaly.sum()),
        auroc_one_class=float(roc_auc_score(is_anomaly, scores)),
        auroc_head=float(roc_auc_score(is_anomaly, head)),
        auroc_summary=float(roc_auc_score(is_anomaly, margins)),
        auroc_tail=None if tail is None else float(roc_auc_score(is_anomaly, tail)),
        auroc_fused=float(roc_auc_score(is_anomaly, fused if helps else scores)),
        brier=float(np.average((expit(logits) - is_anomaly) ** 2, weights=weights)),
        labels_help=helps,
    )
    return fitted(features if helps else features[:, :1], is_anomaly, weights), evidence


def numbered(groups: Sequence[str]) -> NDArray[np.int64]:
    """Each image's group as a number from 0."""
    return np.asarray(np.unique(np.asarray(groups), return_inverse=True)[1], np.int64)


def fitted(features: Floats, is_anomaly: Truth, importance: Floats) -> Fusion:
    """Logistic regression whose weights are not negative: more of an anomaly is never less.

    features: (images, 3), (images, 4) with a tail, or (images, 1) for the distance alone.
    """
    count = features.shape[1]
    unit = np.maximum(features.std(0), np.finfo(np.float64).tiny)
    side = np.where(is_anomaly, 1.0, -1.0)

    def loss(said: Floats) -> tuple[float, Floats]:
        offset, weights = said[0], said[1:]
        logits = offset + features @ weights
        pull = -side * importance * expit(-side * logits)
        value = importance @ np.logaddexp(0, -side * logits) + SHRINKAGE / 2 * np.square(weights * unit).sum()
        return float(value), np.concatenate([[pull.sum()], features.T @ pull + SHRINKAGE * weights * unit**2])

    least = [LEAST_DISTANCE_WEIGHT] + [0.0] * (count - 1)
    start = np.array([0.0, *least])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None), *((low, None) for low in least)])
    offset, *weights = map(float, found.x)
    return Fusion(offset, *(weights + [0.0] * (4 - count)))


def cross_fitted(features: Floats, is_anomaly: Truth, weights: Floats, parted: Sequence[Fold]) -> Floats:
    """Logits of parts that had no part in the weights."""
    logits = np.zeros(len(is_anomaly))
    for learned, judged in parted:
        fusion = fitted(features[learned], is_anomaly[learned], weights[learned])
        own = [fusion.distance_weight, fusion.head_weight, fusion.summary_weight, fusion.tail_weight]
        logits[judged] = fusion.offset + features[judged] @ np.array(own[: features.shape[1]])
    return logits


def folds(is_anomaly: Truth, groups: NDArray[np.int64], count: int, seed: int) -> list[Fold]:
    """Groups stay together; as many folds as the rarer class has groups, at most count."""
    rarer = min(len(np.unique(groups[is_anomaly])), len(np.unique(groups[~is_anomaly])))
    alone = len(np.unique(groups)) == len(groups)  # nothing to keep together: the quicker one balances as well
    kind, together = (StratifiedKFold, None) if alone else (StratifiedGroupKFold, groups)
    splitter = kind(max(2, min(count, rarer)), shuffle=True, random_state=seed)
    parted = list(splitter.split(groups, is_anomaly, together))
    # The splitter balances; it does not promise that both classes are left to learn from.
    return [(learned, judged) for learned, judged in parted if len(np.unique(is_anomaly[learned])) == 2]


def log_loss(logits: Floats, is_anomaly: Truth) -> Floats:
    return np.asarray(np.logaddexp(0, np.where(is_anomaly, -logits, logits)))


def is_likely(gains: Floats, groups: NDArray[np.int64], seed: int) -> bool:
    """Whether a gain is more likely than not when parts are drawn again, with all their images.

    Not surer than that: with 50 labels of magnetic tiles asking for three of four draws does worse (AUROC .894
    instead of .900), for what labels teach is worth something before it is proven. The gate of a retraining run holds
    the whole model against the champion all the same.
    """
    of_a_group = np.bincount(groups, gains)
    drawn = np.random.default_rng(seed).integers(len(of_a_group), size=(DRAWS, len(of_a_group)))
    return float(np.quantile(of_a_group[drawn].sum(1), DOUBT)) > 0

"""How well anomaly scores tell defective parts from good ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, precision_recall_fscore_support
from sklearn.metrics import roc_auc_score as auroc

from workers.detectors.calibration import observed_interval

Figures = dict[str, float]


def ranking(is_anomaly: NDArray[np.bool_], scores: NDArray[np.float64]) -> Figures:
    """What does not depend on a threshold; both kinds of part must be there."""
    precision, recall, _ = precision_recall_curve(is_anomaly, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    return {
        "image_auroc": float(auroc(is_anomaly, scores)),
        "image_ap": float(average_precision_score(is_anomaly, scores)),
        "f1_best": float(f1.max()),
    }


def decision(is_anomaly: NDArray[np.bool_], rejected: NDArray[np.bool_]) -> Figures:
    """What a threshold comes to; a precision of nothing rejected is 0."""
    precision, recall, f1, _ = precision_recall_fscore_support(is_anomaly, rejected, average="binary", zero_division=0)
    return {
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
        "false_reject_rate": float(rejected[~is_anomaly].mean()),
    }


def observed(is_anomaly: NDArray[np.bool_], rejected: NDArray[np.bool_]) -> Sequence[float]:
    """Where the false-reject rate of parts like these good ones lies, with 95 % confidence."""
    return list(observed_interval(int(rejected[~is_anomaly].sum()), int((~is_anomaly).sum())))

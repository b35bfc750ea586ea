"""The figures of a trial: ranking, decisions at the calibrated threshold, pixels, each defect class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.datasets import image_metrics
from workers.datasets.judging import Judgement, Trial
from workers.datasets.pixel_metrics import Levels, PixelCounts, count_pixels
from workers.datasets.sample import GOOD, Dataset
from workers.datasets.truth import defect_mask

Report = dict[str, Any]


def figures(dataset: Dataset, trial: Trial) -> Report:
    """One JSON object; rates and areas in [0, 1], pixel figures None when no defect's place is known.

    calibrated: whether the threshold was set on known-good parts; else the decisions are those at 0.5, and nothing is
    promised about them.
    """
    calibration, threshold = trial.detector.calibration, trial.detector.ng_threshold
    scores, is_anomaly = scores_of(trial.judgements), truth_of(trial.judgements)
    rejected = scores >= threshold
    counts = pixel_counts(dataset, trial.judgements)
    pixels = sum(counts.values(), PixelCounts.none())
    return {
        "detector": trial.detector.name,
        "images": len(trial.judgements),
        "anomalies": int(is_anomaly.sum()),
        **image_metrics.ranking(is_anomaly, scores),
        **image_metrics.decision(is_anomaly, rejected),
        "calibrated": bool(calibration.good_raw_scores),
        "threshold": threshold,
        "false_reject_interval": list(calibration.false_reject_interval),
        "false_reject_interval_observed": image_metrics.observed(is_anomaly, rejected),
        "pixel_auroc": pixels.auroc(),
        "aupro": pixels.aupro(),
        "classes": classes(trial.judgements, threshold, counts),
        "images_per_second": trial.images_per_second,
        "fit_seconds": trial.fit_seconds,
    }


def classes(judgements: Sequence[Judgement], threshold: float, counts: Mapping[str, PixelCounts]) -> Report:
    """Each defect class against all good images."""
    found = {}
    for defect in sorted({one.sample.label for one in judgements if one.sample.is_anomaly}):
        chosen = [one for one in judgements if one.sample.label == defect or not one.sample.is_anomaly]
        scores, is_anomaly = scores_of(chosen), truth_of(chosen)
        pixels = counts.get(GOOD, PixelCounts.none()) + counts.get(defect, PixelCounts.none())
        found[defect] = {
            "images": int(is_anomaly.sum()),
            **image_metrics.ranking(is_anomaly, scores),
            "recall": float((scores[is_anomaly] >= threshold).mean()),
            "pixel_auroc": pixels.auroc(),
            "aupro": pixels.aupro(),
        }
    return found


def pixel_counts(dataset: Dataset, judgements: Sequence[Judgement]) -> dict[str, PixelCounts]:
    """By class; images in which the defect's place is not known are left out."""
    maps = [one.prediction.anomaly_map for one in judgements]
    levels = Levels(min(float(one.min()) for one in maps), max(float(one.max()) for one in maps))
    counts: dict[str, PixelCounts] = {}
    for one in judgements:
        mask = defect_mask(dataset, one.sample)
        if mask is not None:
            counted = count_pixels(one.prediction.anomaly_map, mask, levels)
            counts[one.sample.label] = counts.get(one.sample.label, PixelCounts.none()) + counted
    return counts


def scores_of(judgements: Sequence[Judgement]) -> NDArray[np.float64]:
    return np.array([one.prediction.anomaly_score for one in judgements])


def truth_of(judgements: Sequence[Judgement]) -> NDArray[np.bool_]:
    return np.array([one.sample.is_anomaly for one in judgements], np.bool_)

"""Whether the promise about false rejects is kept: good parts drawn anew to calibrate on, the others to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.detectors.calibration import calibrate, false_rejects_to_come, held_out_parts
from workers.detectors.detector import Calibration

RESAMPLINGS: Final = 100

Scores = NDArray[np.float64]


def resampled(calibration: Calibration, unseen: Mapping[str, Sequence[float]], seed: int = 0) -> dict[str, int] | None:
    """In how many resamplings the false rejects lie where `false_rejects_to_come` says.

    None where nothing is promised, because no good part was held out.

    unseen: raw scores of good parts that were neither learned from nor calibrated on, by part. They are shuffled with
    those that were calibrated on; as many parts as before calibrate anew, and of each other part one image comes.
    """
    if not calibration.good_raw_scores:
        return None
    parts = calibrated_on(calibration) + [np.asarray(scores) for scores in unseen.values()]
    draw, count = np.random.default_rng(seed), held_out_parts(calibration)
    inside = 0
    for _ in range(RESAMPLINGS):
        order = draw.permutation(len(parts))
        anew = calibrated_anew(calibration, [parts[place] for place in order[:count]])
        coming = np.array([draw.choice(parts[place]) for place in order[count:]])
        low, high = false_rejects_to_come(anew, len(coming))
        inside += low <= int((coming >= anew.raw_threshold).sum()) <= high
    return {"resamplings": RESAMPLINGS, "inside": inside}


def calibrated_on(calibration: Calibration) -> list[Scores]:
    """The raw scores of each part."""
    scores = np.asarray(calibration.good_raw_scores)
    numbers = np.asarray(calibration.good_parts or range(len(scores)))
    return [scores[numbers == number] for number in np.unique(numbers)]


def calibrated_anew(calibration: Calibration, parts: Sequence[Scores]) -> Calibration:
    groups = [str(number) for number, scores in enumerate(parts) for _ in scores]
    return calibrate(
        np.concatenate(list(parts)).tolist(), calibration.target_false_reject_rate, calibration.review_share, groups
    )

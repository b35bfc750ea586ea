"""A supervised detector from kept features and labels alone; the PatchCore beneath is taught from all good parts.

What it says of parts it was taught from tells nothing of parts to come. So that the fusion can be learned and
calibrated all the same, each good part is scored by one that was taught from the good parts of other folds, as it is
when a PatchCore is calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from workers.detectors.calibration import score_of
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.labelled import Seen, check
from workers.detectors.patchcore import PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_judged
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import beneath, refit
from workers.detectors.tail_configuration import TailConfiguration
from workers.detectors.telling import Told, within


class Taught(NamedTuple):
    detector: SupervisedDetector
    raw_scores: dict[int, float]
    """Of each good frame, by its place: by a PatchCore that did not learn from it."""


def teach(
    frames: Sequence[Seen],
    *,
    groups: Sequence[str] | None = None,
    anomaly_rate: float | None = None,
    base: PatchCoreConfiguration | None = None,
    configuration: HeadConfiguration | None = None,
    tail: TailConfiguration | None = None,
    seed: int = 0,
    told: Told | None = None,
) -> Taught:
    """Everything anew, without a forward pass; is_taught of the frames plays no part.

    TeachingFailed when labels contradict one another, are too few, or good parts are too few for base's target
    false-reject rate.
    """
    groups = [str(number) for number in range(len(frames))] if groups is None else groups
    frames = [replace(one, is_taught=False) for one in frames]
    check(frames, groups)
    good = [place for place, one in enumerate(frames) if not one.is_anomaly]
    below, raw_scores = teach_judged(
        [frames[place].features for place in good],
        groups=[groups[place] for place in good],
        configuration=base,
        seed=seed,
        told=within(told, 0, 0.3),
    )
    scores = np.zeros(len(frames))
    scores[good] = [score_of(below.calibration, raw) for raw in raw_scores]
    bad = [place for place, one in enumerate(frames) if one.is_anomaly]
    scores[bad] = [below.score_features([frames[place].features.unpacked()]).anomaly_score for place in bad]
    detector = refit(
        below,
        frames,
        scores,
        groups=groups,
        anomaly_rate=anomaly_rate,
        configuration=configuration or beneath(below),
        tail=tail,
        seed=seed,
        told=within(told, 0.3, 1),
    )
    return Taught(detector, dict(zip(good, raw_scores, strict=True)))

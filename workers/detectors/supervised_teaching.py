"""A supervised detector from kept features and labels alone; the PatchCore beneath is taught from all good parts.

What it says of parts it was taught from tells nothing of parts to come. So that the fusion can be learned and
calibrated all the same, each good part is scored by one that was taught from the good parts of the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from workers.detectors.fusion_training import numbered
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.labelled import Seen, check
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_features
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import Floats, beneath, refit
from workers.detectors.tail_configuration import TailConfiguration
from workers.detectors.telling import Told, within

FOLDS = 4


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
) -> SupervisedDetector:
    """Everything anew, without a forward pass; is_taught of the frames plays no part.

    TeachingFailed when labels contradict one another, are too few, or good parts are too few for base's target
    false-reject rate: each fold's PatchCore holds some out.
    """
    groups = [str(number) for number in range(len(frames))] if groups is None else groups
    frames = [replace(one, is_taught=False) for one in frames]
    check(frames, groups)
    good = [place for place, one in enumerate(frames) if not one.is_anomaly]
    below = taught(frames, good, groups, base, seed, within(told, 0, 1 / (2 + 2 * FOLDS)))
    scores = scored(below, frames)
    folds = fold_of_each([groups[place] for place in good], seed)
    for fold in range(FOLDS):
        others = [place for place, own in zip(good, folds, strict=True) if own != fold]
        judged = [place for place, own in zip(good, folds, strict=True) if own == fold]
        if judged:
            here = within(told, (1 + fold) / (2 + 2 * FOLDS), (2 + fold) / (2 + 2 * FOLDS))
            apart = taught(frames, others, groups, base, seed, here)
            scores[judged] = scored(apart, [frames[place] for place in judged])
    return refit(
        below,
        frames,
        scores,
        groups=groups,
        anomaly_rate=anomaly_rate,
        configuration=configuration or beneath(below),
        tail=tail,
        seed=seed,
        told=within(told, 0.5, 1),
    )


def taught(
    frames: Sequence[Seen],
    places: Sequence[int],
    groups: Sequence[str],
    configuration: PatchCoreConfiguration | None,
    seed: int,
    told: Told,
) -> PatchCore:
    return teach_features(
        [frames[place].features for place in places],
        groups=[groups[place] for place in places],
        configuration=configuration,
        seed=seed,
        told=told,
    )


def scored(base: PatchCore, frames: Sequence[Seen]) -> Floats:
    return np.array([base.score_features([one.features.unpacked()]).anomaly_score for one in frames], np.float64)


def fold_of_each(groups: Sequence[str], seed: int) -> list[int]:
    """Images of one part are in one fold."""
    numbers = numbered(groups)
    order = np.random.default_rng(seed).permutation(int(numbers.max()) + 1)
    return [int(order[number] % FOLDS) for number in numbers]

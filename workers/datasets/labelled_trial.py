"""What labels add: five folds by group of a labelled data set, over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from storage.errors import DatasetInvalid
from workers.datasets.crossvalidation import anew, cross_validate, some_known
from workers.datasets.folds import group_of
from workers.datasets.judging import Progress, Teaching
from workers.datasets.sample import Dataset, Sample
from workers.datasets.truth import defect_mask, pixels
from workers.detectors import registry
from workers.detectors.detector import Detector
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.labelled import Labelled
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.tail_configuration import TailConfiguration

FOLDS: Final = 5
SEEDS: Final = 3
HEAD: Final[HeadConfiguration | None] = None


def labelled_trial(
    dataset: Dataset,
    teaching: Teaching,
    labels: int | None,
    progress: Progress,
    tail: TailConfiguration | None = None,
    *,
    asked: bool = False,
    count: int | None = None,
) -> dict[str, Any]:
    """Means over folds and seeds, and their standard deviations; the data set's own split plays no part.

    labels: how many images outside those taught as known-good have their label told, in each fold; None is all. A
    PatchCore on its own backbone is taught from all images known to be good, another from half of the good groups.
    """
    samples = [sample for sample in dataset.samples if sample.is_anomaly is not None]
    for is_anomaly, what in ((False, "good images"), (True, "anomalies")):
        if not any(sample.is_anomaly is is_anomaly for sample in samples):
            raise DatasetInvalid(dataset.root, what, given="none", allowed="at least one in each of 5 folds")

    def teach(known: Sequence[Labelled], groups: Sequence[str], seed: int) -> Detector:
        return registry.teach(
            teaching.detector,
            (one.image for one in known),
            image_size=teaching.image_size,
            target_false_reject_rate=teaching.target_false_reject_rate,
            review_share=teaching.review_share,
            seed=seed,
            weights=teaching.weights,
            groups=groups,
        )

    images, groups = [labelled(dataset, sample) for sample in samples], [group_of(sample) for sample in samples]
    # As a retraining run does it, which learns everything anew where the memory sees with its own backbone.
    if teaching.detector == PatchCore.name and teaching.weights is None:
        base = PatchCoreConfiguration(
            image_size=teaching.image_size,
            target_false_reject_rate=teaching.target_false_reject_rate,
            review_share=teaching.review_share,
        )
        learn = anew(images, groups, base, labels, HEAD, tail, asked=asked)
    else:
        learn = some_known(images, groups, teach, labels, HEAD, tail, asked=asked)
    seeds = range(teaching.seed, teaching.seed + (count or SEEDS))
    found = cross_validate(images, groups, learn, count=FOLDS, seeds=seeds, progress=progress)
    told = {"labels": labels, "asked": asked, "folds": FOLDS, "seeds": list(seeds)}
    return told | {"mean": found.mean(), "spread": found.spread()}


def labelled(dataset: Dataset, sample: Sample) -> Labelled:
    """The image in full, for its mask is as large; only an anomaly whose place is known has one. A mask that marks
    nothing does not tell it."""
    mask = defect_mask(dataset, sample) if sample.is_anomaly else None
    known = mask is not None and bool(mask.any())
    return Labelled(pixels(dataset, sample.path), bool(sample.is_anomaly), np.asarray(mask) if known else None)

"""Whether the promise about false rejects is kept: teach anew from good parts drawn at random, judge the others.

Each time the model is another one, and it is held to its own threshold: one that it was calibrated to wrongly, on parts
it had learned from, say, rejects another number of the parts to come than it promised. To shuffle scores and calibrate
anew on some of them would prove nothing: shuffled scores are alike, whatever the detector does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from storage.errors import DatasetInvalid
from workers.datasets.folds import group_of
from workers.datasets.judging import decoded
from workers.datasets.sample import Dataset, Sample
from workers.detectors.calibration import CONFIDENCE, false_rejects_to_come
from workers.detectors.detector import Detector
from workers.detectors.taught_anew import TeachAnew, look

Progress = Callable[[str], None]


def resampled_on(
    dataset: Dataset, detector: Detector, count: int, seed: int, progress: Progress
) -> dict[str, Any] | None:
    """`resampled` over all good images, taught from as large a share of the parts as train has of the images.

    None where nothing is promised, because no good part was held out.
    """
    if not detector.calibration.good_raw_scores:
        return None
    taught, unseen = (dataset.chosen(split, is_anomaly=False) for split in ("train", "test"))
    samples = taught + unseen
    parts = places_by_part(samples)
    learned_from = round(len(parts) * len(taught) / len(samples))
    if not 0 < learned_from < len(parts):
        raise DatasetInvalid(
            dataset.root, "good parts to resample", given=len(parts), allowed="some to teach and some to judge"
        )
    progress(f"looking at {len(samples)} good images")
    teach = look(detector, decoded(dataset, samples, detector.image_size))
    return resampled(parts, learned_from, teach, count, seed, progress)


def places_by_part(samples: Sequence[Sample]) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        parts.setdefault(group_of(sample), []).append(place)
    return parts


def resampled(
    parts: Mapping[str, Sequence[int]],
    learned_from: int,
    teach: TeachAnew,
    count: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Teach `count` times from so many of the parts, drawn at random; of each other part one image comes to be judged.

    parts: the places of each part's images. inside: how often the number of rejects lay where `false_rejects_to_come`
    said for so many parts, as `threshold show` prints it, with 99 %. inside_95: the same of the rate's 95 % interval,
    as much wider as a lot of so many parts scatters around its rate; an exact promise is kept 95 times of 100 on
    average, so less than 95 as often as not. false_reject_rate: the mean.
    """
    names, rejected, inside, inside_95 = list(parts), [], 0, 0
    for number in range(count):
        if progress is not None:
            progress(f"teaching anew, {number + 1} of {count}")
        draw = np.random.default_rng([seed, number])
        order = draw.permutation(len(names))
        known = [(place, names[part]) for part in sorted(order[:learned_from]) for place in parts[names[part]]]
        anew = teach([place for place, _ in known], [name for _, name in known], seed + number)
        others = [parts[names[part]] for part in order[learned_from:]]
        coming = [places[int(draw.integers(len(places)))] for places in others]
        rejects = sum(raw >= anew.calibration.raw_threshold for raw in anew.raw_scores(coming))
        low, high = false_rejects_to_come(anew.calibration, len(coming))
        inside += low <= rejects <= high
        low, high = false_rejects_to_come(anew.calibration, len(coming), CONFIDENCE)
        inside_95 += low <= rejects <= high
        rejected.append(rejects)
    to_come = len(names) - learned_from
    return {
        "resamplings": count,
        "inside": inside,
        "inside_95": inside_95,
        "parts_taught": learned_from,
        "parts_to_come": to_come,
        "false_reject_rate": float(np.mean(rejected)) / to_come,
    }

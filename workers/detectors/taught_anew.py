"""Teach a detector's kind anew from frames that were looked at once: any number of times, without a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from storage.errors import ModelConfigurationWrong
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.anomalyclip_teaching import remember_features
from workers.detectors.detector import Calibration, Detector, Image
from workers.detectors.patchcore import PatchCore
from workers.detectors.patchcore_teaching import one_thread_an_operation, teach_patches, threads_of_one


class Anew(NamedTuple):
    """A detector taught anew, as far as its decisions about the frames go."""

    calibration: Calibration
    raw_scores: Callable[[Sequence[int]], list[float]]
    """Of the frames at these places."""


TeachAnew = Callable[[Sequence[int], Sequence[str], int], Anew]
"""From the places of the known-good frames to learn from, the group of each, and a seed."""


def look(detector: Detector, images: Iterable[Image]) -> TeachAnew:
    """Look at each image once, with the detector's own eyes; all is kept in memory, as while it was taught."""
    if isinstance(detector, PatchCore):
        return patchcore(detector, images)
    if isinstance(detector, AnomalyCLIPDetector):
        return anomalyclip(detector, images)
    allowed = f"{PatchCore.name}, {AnomalyCLIPDetector.name}"
    raise ModelConfigurationWrong(f"{detector.name}: given to be taught anew from good parts; allowed: {allowed}")


def patchcore(detector: PatchCore, images: Iterable[Image]) -> TeachAnew:
    eye, configuration = detector.eye, detector.configuration
    frames = [eye.patches(image) for image in images]

    def teach(places: Sequence[int], groups: Sequence[str], seed: int) -> Anew:
        known = [frames[place] for place in places]
        taught = teach_patches(known, eye, configuration, groups=groups, seed=seed).detector

        def raw_scores(places: Sequence[int]) -> list[float]:
            with one_thread_an_operation() as threads, threads_of_one(threads) as pool:
                return list(pool.map(raw_score, places))

        def raw_score(place: int) -> float:
            return taught.scorer.judge(taught.distances.of(frames[place])).raw

        return Anew(taught.calibration, raw_scores)

    return teach


def anomalyclip(detector: AnomalyCLIPDetector, images: Iterable[Image]) -> TeachAnew:
    frames = [detector.features([image]) for image in images]
    target, share = detector.calibration.target_false_reject_rate, detector.calibration.review_share

    def teach(places: Sequence[int], groups: Sequence[str], seed: int) -> Anew:
        known = [frames[place] for place in places]
        taught = remember_features(
            detector, known, target_false_reject_rate=target, review_share=share, seed=seed, groups=groups
        )
        return Anew(
            taught.calibration, lambda places: [float(taught.judge(frames[place]).raw_scores) for place in places]
        )

    return teach

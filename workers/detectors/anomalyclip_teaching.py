"""AnomalyCLIP on a plant: as it comes on day 0, and with a memory of good patches once there are known-good images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import ImageUnreadable, TeachingFailed
from workers.detectors.anomalyclip import ImageFeatures
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.calibration import calibrate
from workers.detectors.detector import Image
from workers.detectors.good_patches import GoodPatches
from workers.detectors.held_out import divide, named
from workers.detectors.read_when_asked import ReadWhenAsked

LEAST_REMEMBERED = 1  # part
HELD_OUT_SHARE = 0.2

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Source:
    """Which weights of a models folder, and which choices of AnomalyCLIPConfig differ from the published ones."""

    models: Path
    clip: str
    prompts: str
    choices: Mapping[str, Any]


def teach(
    images: Iterable[Image],
    source: Source,
    *,
    image_size: int,
    target_false_reject_rate: float,
    review_share: float,
    seed: int,
    groups: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> AnomalyCLIPDetector:
    """Few-shot from known-good images; zero-shot and uncalibrated when there are none."""
    detector = AnomalyCLIPDetector.from_folder(
        source.models, source.clip, source.prompts, side_near=image_size, **source.choices
    )
    return remember(
        detector,
        images,
        target_false_reject_rate=target_false_reject_rate,
        review_share=review_share,
        seed=seed,
        groups=groups,
        progress=progress,
    )


def remember(
    detector: AnomalyCLIPDetector,
    images: Iterable[Image],
    *,
    target_false_reject_rate: float,
    review_share: float,
    seed: int,
    groups: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> AnomalyCLIPDetector:
    """The same prompts with a new memory of good patches, some images held out to calibrate on.

    The features of all images are in memory until the end, 4 MB an image for ViT-L/14 at 518 pixels; features that were
    kept need not be (`remember_features`).
    """
    return remember_features(
        detector,
        list(watched(images, detector, progress)),
        target_false_reject_rate=target_false_reject_rate,
        review_share=review_share,
        seed=seed,
        groups=groups,
    )


def remember_features(
    detector: AnomalyCLIPDetector,
    features: Sequence[ImageFeatures],
    *,
    target_false_reject_rate: float,
    review_share: float,
    seed: int,
    groups: Sequence[str] | None = None,
) -> AnomalyCLIPDetector:
    """As `remember`, from features that were kept, of one image each.

    A sequence may read them when they are asked for: each is asked for once, and only its patches that are chosen among
    stay in memory.
    """
    if not features:
        return detector
    division = divide(
        named(len(features), groups), HELD_OUT_SHARE, target_false_reject_rate, seed, least_taught=LEAST_REMEMBERED
    )
    remembered = ReadWhenAsked(division.kept, lambda place: features[place].patches)
    few_shot = detector.with_learned(memory=GoodPatches.remember(remembered, seed))
    scores = [float(few_shot.judge(features[place]).raw_scores) for place in division.held_out]
    calibration = calibrate(scores, target_false_reject_rate, review_share, division.held_out_groups)
    return few_shot.with_learned(calibration=calibration)


def watched(
    images: Iterable[Image], detector: AnomalyCLIPDetector, progress: Progress | None
) -> Iterator[ImageFeatures]:
    """One at a time: the images themselves are not kept."""
    for number, image in enumerate(images, start=1):
        try:
            yield detector.features([image])
        except ImageUnreadable as error:
            raise TeachingFailed(f"known-good image {number}: {error}") from error
        if progress is not None:
            progress(number)

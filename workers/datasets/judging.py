"""Teach a detector the good images of a data set and let it judge the others, as fast as the machine allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from storage.errors import DatasetInvalid, InspectionFailed
from workers.datasets.folds import group_of
from workers.datasets.sample import Dataset, Sample
from workers.datasets.truth import pixels
from workers.detectors import registry
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.detector import Detector, Image, Prediction
from workers.detectors.registry import Weights

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Teaching:
    """How a detector is taught: what a recipe says of it."""

    detector: str
    image_size: int
    target_false_reject_rate: float
    review_share: float
    seed: int = 0
    weights: Weights | None = None
    """Those the detector stands on, where it brings none of its own."""
    zero_shot: bool = False
    """Nothing is learned, whatever known-good images there are; anomalyclip alone can."""

    @property
    def needs_good(self) -> bool:
        """Whether there must be known-good images to learn from."""
        return self.detector != AnomalyCLIPDetector.name


@dataclass(frozen=True)
class Judgement:
    """A sample and what the detector said of it."""

    sample: Sample
    prediction: Prediction


@dataclass(frozen=True)
class Trial:
    """A detector taught, and its judgements of images it had not seen."""

    detector: Detector
    judgements: list[Judgement]
    fit_seconds: float
    images_per_second: float
    """From file to score, an image on each thread."""


def parts_to_teach_and_judge(dataset: Dataset, *, needs_good: bool = True) -> tuple[list[Sample], list[Sample]]:
    """The good samples of train, and the labelled ones of test; DatasetInvalid when there is nothing to tell apart.

    needs_good: there must be some in train.
    """
    taught = dataset.chosen("train", is_anomaly=False)
    good, defective = (dataset.chosen("test", is_anomaly=is_anomaly) for is_anomaly in (False, True))
    for found, what in ((taught, "good images in train"), (good, "good images in test"), (defective, "anomalies")):
        if not found and (needs_good or found is not taught):
            raise DatasetInvalid(dataset.root, what, given="none", allowed="at least one")
    return taught, sorted(good + defective, key=lambda sample: sample.path)


def attempt(dataset: Dataset, teaching: Teaching, progress: Progress) -> Trial:
    """Teach on train/good, unless zero-shot, and judge test."""
    taught, judged = parts_to_teach_and_judge(dataset, needs_good=teaching.needs_good)
    taught = [] if teaching.zero_shot else taught
    started = time.perf_counter()
    detector = registry.teach(
        teaching.detector,
        decoded(dataset, taught, teaching.image_size),
        image_size=teaching.image_size,
        target_false_reject_rate=teaching.target_false_reject_rate,
        review_share=teaching.review_share,
        seed=teaching.seed,
        groups=[group_of(sample) for sample in taught],
        weights=teaching.weights,
        progress=lambda done: progress(f"taught {done} of {len(taught)}"),
    )
    fit_seconds = time.perf_counter() - started
    judge(dataset, judged[:1], detector, torch.get_num_threads())  # the first image pays for what is made once
    progress(f"judging {len(judged)}")
    started = time.perf_counter()
    judgements = judge(dataset, judged, detector, torch.get_num_threads())
    return Trial(detector, judgements, fit_seconds, len(judged) / (time.perf_counter() - started))


def decoded(dataset: Dataset, samples: Sequence[Sample], image_size: int) -> Iterator[Image]:
    """Images as serving decodes them."""
    return (pixels(dataset, sample.path, minimum_side=image_size) for sample in samples)


def judge(dataset: Dataset, samples: Sequence[Sample], detector: Detector, threads: int) -> list[Judgement]:
    """An image on each thread, one thread an image: as the line's inference workers share the machine."""

    def judge_one(sample: Sample) -> Judgement:
        (answer,) = detector.predict([pixels(dataset, sample.path, minimum_side=detector.image_size)])
        if isinstance(answer, InspectionFailed):
            # Left out, it would make the figures better than they are.
            raise DatasetInvalid(
                dataset.file(sample.path), "image", given=str(answer), allowed="an image the detector can score"
            ) from answer
        return Judgement(sample, answer)

    registry.use_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(judge_one, samples))
    finally:
        registry.use_threads(threads)

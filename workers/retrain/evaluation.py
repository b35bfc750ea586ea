"""How a model judges the protected pool: as serving would, at its own thresholds, and under disturbances."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from storage.errors import ImageSizeRefused, ImageUnreadable, InspectionFailed, PoolUnreadable
from storage.images import Image, decode
from workers.datasets.disturbance import DISTURBANCES
from workers.detectors.detector import Detector
from workers.retrain.pool import PoolItem, Scored

Progress = Callable[[int, int], None]
"""Is told how many of how many images are done; what it raises ends the evaluation."""

UNSCORED: Final = 1.0
"""A part that cannot be scored is ERROR: never passed, and a false reject when it was good."""


@dataclass(frozen=True)
class Judge:
    """A model and the thresholds it decides by on the line, which a person may have set."""

    model: str
    detector: Detector
    ok_threshold: float
    ng_threshold: float

    @classmethod
    def by_its_own(cls, model: str, detector: Detector) -> Judge:
        return cls(model, detector, detector.ok_threshold, detector.ng_threshold)


@dataclass(frozen=True)
class Evaluation:
    """One model's judgement of the pool. A part with several images is as bad as its worst, as on the line."""

    model: str
    ok_threshold: float
    ng_threshold: float
    target_false_reject_rate: float
    false_reject_interval: tuple[float, float]
    """What its calibration promises of good parts to come, with 95 % confidence."""
    images: tuple[Scored, ...]

    @cached_property
    def parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.part for one in self.images))

    @cached_property
    def is_anomaly(self) -> NDArray[np.bool_]:
        """(parts,)"""
        bad = {one.part for one in self.images if one.is_anomaly}
        return np.array([part in bad for part in self.parts], np.bool_)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(parts,)"""
        return self.worst({one.name: one.anomaly_score for one in self.images})

    @cached_property
    def classes(self) -> dict[str, NDArray[np.bool_]]:
        """Which parts have a defect of each class, by its name."""
        named: dict[str, set[str]] = {}
        for one in self.images:
            for defect in one.defects if one.is_anomaly else ():
                named.setdefault(defect, set()).add(one.part)
        return {name: np.array([part in has for part in self.parts]) for name, has in sorted(named.items())}

    @property
    def rejected(self) -> NDArray[np.bool_]:
        return self.scores >= self.ng_threshold

    @property
    def passed(self) -> NDArray[np.bool_]:
        """As OK, without anybody looking at the part."""
        return self.scores < self.ok_threshold

    @property
    def failures(self) -> int:
        """Images it could not score."""
        return sum(one.anomaly_score is None for one in self.images)

    def worst(self, scores: Mapping[str, float | None]) -> NDArray[np.float64]:
        """(parts,): each part's highest score among its images; NaN where it has none."""
        found = dict.fromkeys(self.parts, np.nan)
        for one in self.images:
            if one.name in scores:
                score = scores[one.name]
                found[one.part] = np.fmax(found[one.part], UNSCORED if score is None else score)
        return np.array(list(found.values()))

    def disturbed(self, name: str) -> NDArray[np.float64]:
        """(parts,): scores under this disturbance; NaN where the part was not drawn for it."""
        return self.worst({one.name: one.disturbed[name] for one in self.images if name in one.disturbed})

    @cached_property
    def disturbances(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for one in self.images for name in one.disturbed))

    def record(self) -> dict[str, Any]:
        """As JSON; `recorded` reads it back."""
        return asdict(self)


def recorded(record: Mapping[str, Any]) -> Evaluation:
    """The evaluation that was kept as JSON."""
    images = tuple(Scored(**{**one, "defects": tuple(one["defects"])}) for one in record["images"])
    low, high = record["false_reject_interval"]
    return Evaluation(**{**record, "images": images, "false_reject_interval": (low, high)})


def evaluate(
    detector: Detector,
    items: Sequence[PoolItem],
    *,
    model: str,
    seed: int = 0,
    disturbed_parts: int = 40,
    maximum_megapixels: float = 100.0,
    progress: Progress | None = None,
) -> Evaluation:
    """One model at its own thresholds; two that are to be compared are better judged together."""
    (found,) = evaluate_together(
        [Judge.by_its_own(model, detector)],
        items,
        seed=seed,
        disturbed_parts=disturbed_parts,
        maximum_megapixels=maximum_megapixels,
        progress=progress,
    )
    return found


def evaluate_together(
    judges: Sequence[Judge],
    items: Sequence[PoolItem],
    *,
    seed: int = 0,
    disturbed_parts: int = 40,
    maximum_megapixels: float = 100.0,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """Image by image, each model in turn: what else the machine does slows all of them alike.

    PoolUnreadable names an item that cannot be read: a pool with holes would flatter every model.
    """
    drawn = drawn_parts(items, disturbed_parts, seed)
    scored: list[list[Scored]] = [[] for _ in judges]
    for number, item in enumerate(items):
        data = contents(item)
        images: dict[int, Image] = {}
        for judge, of_judge in zip(judges, scored, strict=True):
            side = judge.detector.image_size
            if side not in images:
                images[side] = decoded(item, data, side, maximum_megapixels)
            one = judged(judge.detector, item, images[side], first=number == 0)
            if item.part in drawn:
                one = replace(one, disturbed=disturbed(judge.detector, images[side], seed ^ crc32(item.name.encode())))
            of_judge.append(one)
        if progress is not None:
            progress(number + 1, len(items))
    return [evaluation(judge, images) for judge, images in zip(judges, scored, strict=True)]


def evaluation(judge: Judge, images: Sequence[Scored]) -> Evaluation:
    calibration = judge.detector.calibration
    low, high = calibration.false_reject_interval
    return Evaluation(
        model=judge.model,
        ok_threshold=judge.ok_threshold,
        ng_threshold=judge.ng_threshold,
        target_false_reject_rate=calibration.target_false_reject_rate,
        false_reject_interval=(low, high),
        images=tuple(images),
    )


def contents(item: PoolItem) -> bytes:
    try:
        return item.read()
    except OSError as error:
        raise PoolUnreadable(item.name, str(error)) from error


def decoded(item: PoolItem, data: bytes, minimum_side: int, maximum_megapixels: float) -> Image:
    """As serving decodes it."""
    try:
        return decode(data, minimum_side=minimum_side, maximum_megapixels=maximum_megapixels)
    except (ImageUnreadable, ImageSizeRefused) as error:
        raise PoolUnreadable(item.name, str(error)) from error


def judged(detector: Detector, item: PoolItem, image: Image, *, first: bool) -> Scored:
    if first:
        detector.predict([image])  # the first image pays for what is made once
    started = time.perf_counter()
    (answer,) = detector.predict([image])
    milliseconds = 1000 * (time.perf_counter() - started)
    failed = isinstance(answer, InspectionFailed)
    return Scored(
        name=item.name,
        part=item.part,
        is_anomaly=item.is_anomaly,
        defects=item.defects,
        anomaly_score=None if isinstance(answer, InspectionFailed) else answer.anomaly_score,
        milliseconds=milliseconds,
        failure=str(answer) if failed else None,
    )


def disturbed(detector: Detector, image: Image, seed: int) -> dict[str, float | None]:
    answers = detector.predict([disturb(image, seed) for disturb in DISTURBANCES.values()])
    return {
        name: None if isinstance(answer, InspectionFailed) else answer.anomaly_score
        for name, answer in zip(DISTURBANCES, answers, strict=True)
    }


def drawn_parts(items: Sequence[PoolItem], count: int, seed: int) -> set[str]:
    """As many defective as good ones, as far as there are; the order of the items is nothing to it."""
    bad = {item.part for item in items if item.is_anomaly}
    good = {item.part for item in items} - bad
    random = np.random.default_rng(seed)
    chosen = [random.permutation(sorted(kind))[: (count + odd) // 2] for kind, odd in ((bad, 0), (good, 1))]
    return {str(part) for kind in chosen for part in kind}

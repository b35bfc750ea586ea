"""The prompts of an AnomalyCLIP champion, learned on from decided parts; the CLIP stays as it is.

Half of the parts teach the prompts. Memory, thresholds and head know only the other half: what prompts that learned
from a part say of it would promise too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final, overload

import cv2
import numpy as np

from storage.snapshot_models import SnapshotItem
from workers.detectors.anomalyclip_detector import UNCALIBRATED, AnomalyCLIPDetector
from workers.detectors.anomalyclip_training import Recipe, TrainingSample, learn_prompts, told_of
from workers.detectors.labelled import LEAST_GROUPS_OF_A_CLASS
from workers.detectors.tail_configuration import TailConfiguration
from workers.detectors.training_checkpoint import EpochRecord
from workers.retrain.material import Material
from workers.retrain.run import Run

RECIPE: Final = Recipe()
"""As AnomalyCLIP was published; it begins at the champion's prompts."""


def halves(material: Material) -> tuple[Material, Material]:
    """What prompts may learn from, and what they never see, known-good images among it.

    A part's name decides, so that it is the same in each run.
    """

    def own(item: SnapshotItem) -> bool:
        return for_prompts(item.part_key) and not material.is_taught(item)

    first, rest = ([item for item in material.items if own(item) is wanted] for wanted in (True, False))
    return replace(material, items=first), replace(material, items=rest)


def for_prompts(part: str) -> bool:
    return sha256(f"prompts {part}".encode()).digest()[0] < 128


def enough(lessons: Material, rest: Material, configuration: TailConfiguration) -> bool:
    """With half of the parts in the prompts, the other half must suffice for all else."""
    counts = [[len(one.good_parts()), len(one.bad_parts())] for one in (lessons, rest)]
    good, bad = (sum(both) for both in zip(*counts, strict=True))
    return configuration.wanted(good, bad) and min(map(min, counts)) >= LEAST_GROUPS_OF_A_CLASS


def learned_on(base: AnomalyCLIPDetector, material: Material, run: Run) -> AnomalyCLIPDetector:
    """With new prompts and the memory it has; what it was calibrated for holds no more.

    A run that was killed goes on after the last epoch it finished.
    """
    samples = Samples(material, run)

    def report(record: EpochRecord, epochs: int) -> None:
        run.note(detail=f"prompts: epoch {record.epoch} of {epochs}, loss {record.total:.3f}")

    def told(share: float) -> None:
        run.progress(round(100 * share), 100, f"prompts: {share:.0%}")

    recipe = replace(RECIPE, seed=run.row.seed)
    history = learn_prompts(base.model, samples, recipe, run.checkpoint.prompts, report=report, told=told)
    training = told_of(recipe, len(samples), 0, history)
    return AnomalyCLIPDetector(
        base.model, base.clip, replace(base.learned, calibration=UNCALIBRATED, training=training)
    )


class Samples(Sequence[TrainingSample]):
    """Decoded when they are asked for: the images of a plant fill a memory."""

    def __init__(self, material: Material, run: Run) -> None:
        self.material, self.run = material, run

    def __len__(self) -> int:
        return len(self.material.items)

    @overload
    def __getitem__(self, place: int) -> TrainingSample: ...
    @overload
    def __getitem__(self, place: slice) -> list[TrainingSample]: ...
    def __getitem__(self, place: int | slice) -> TrainingSample | list[TrainingSample]:
        if isinstance(place, slice):
            return [self.sample(item) for item in self.material.items[place]]
        self.run.progress(place, len(self), f"prompts: {len(self)} images")
        return self.sample(self.material.items[place])

    def sample(self, item: SnapshotItem) -> TrainingSample:
        image, mask = self.material.image(item), self.material.mask(item)
        if mask is not None and mask.shape != image.shape[:2]:  # drawn on the original, decoded smaller
            size = (image.shape[1], image.shape[0])
            mask = np.asarray(cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST))
        return TrainingSample(image, item.is_anomaly, None if mask is None else np.asarray(mask, np.uint8))

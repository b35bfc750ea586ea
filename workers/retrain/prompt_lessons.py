"""The prompts of an AnomalyCLIP champion, learned on from decided parts; the CLIP stays as it is.

Half of the parts teach the prompts. Memory, thresholds and head know only the other half: what prompts that learned
from a part say of it would promise too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import Image
from storage.snapshot_models import SnapshotItem
from workers.detectors.anomalyclip_detector import UNCALIBRATED, AnomalyCLIPDetector
from workers.detectors.anomalyclip_training import Recipe, described, learn_prompts, told_of
from workers.detectors.labelled import LEAST_GROUPS_OF_A_CLASS
from workers.detectors.read_when_asked import ReadWhenAsked
from workers.detectors.tail_configuration import TailConfiguration
from workers.detectors.training_checkpoint import EpochRecord
from workers.retrain.looking import Looking
from workers.retrain.material import Material
from workers.retrain.own_look import clip_look
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
    looking, own = Looking(base, material, run.cache, run.device), clip_look(base)

    def sample(place: int) -> StoredSample:
        run.progress(place, len(material.items), f"prompts: {len(material.items)} images")
        return StoredSample(material, material.items[place])

    def report(record: EpochRecord, epochs: int) -> None:
        run.note(detail=f"prompts: epoch {record.epoch} of {epochs}, loss {record.total:.3f}")

    def told(share: float) -> None:
        run.progress(round(100 * share), 100, f"prompts: {share:.0%}")

    recipe = replace(RECIPE, seed=run.row.seed)
    history = learn_prompts(
        base.model,
        ReadWhenAsked(range(len(material.items)), sample),
        recipe,
        run.checkpoint.prompts,
        report=report,
        told=told,
        features=lambda place: looking.seen_by(own, material.items[place]),
    )
    training = told_of(recipe, len(material.items), 0, history)
    return AnomalyCLIPDetector(
        base.model, base.clip, replace(base.learned, calibration=UNCALIBRATED, training=training)
    )


@dataclass(frozen=True)
class StoredSample:
    """Meets `Sample`: its image is decoded when it is asked for, which is never where its features are known."""

    material: Material
    item: SnapshotItem

    @property
    def image(self) -> Image:
        return self.material.image(self.item)

    @property
    def anomalous(self) -> bool:
        return self.item.is_anomaly

    @cached_property
    def mask(self) -> NDArray[np.uint8] | None:
        drawn, (rows, columns) = self.material.mask(self.item), self.material.size(self.item)
        if drawn is None:
            return None
        mask = drawn.astype(np.uint8)  # on the original, which may be decoded smaller
        return np.asarray(cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_NEAREST), np.uint8)

    def identity(self) -> Iterator[bytes | memoryview]:
        """By the stored file's SHA-256."""
        yield f"{int(self.anomalous)} {self.item.sha256} {described(self.mask)}\n".encode()
        if self.mask is not None:
            yield self.mask.data

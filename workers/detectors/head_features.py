"""Features of labelled images and of changed copies of them, extracted once: the backbone is frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from storage.errors import InspectionFailed, TeachingFailed
from workers.detectors.augmentation import Augmentation
from workers.detectors.efficientnet_lite import EfficientNetLite
from workers.detectors.head import Inputs, inputs
from workers.detectors.labelled import Labelled, coverage

CHANGES = Augmentation(
    rotations_degrees=(-6.0, 6.0),
    scale=(0.9, 1.2),
    brightness=0.06,
    contrast=0.2,
    horizontal_flip=0.5,
    vertical_flip=0.5,
)
MOST_COPIES = 6000  # 140 kB each at 256 pixels

Progress = Callable[[int], None]


class Copies(NamedTuple):
    """The features of each image and of its changed copies, (images, copies, ...); the first copy is the image."""

    stages: Inputs  # half precision: they fill the memory
    coverage: Tensor  # (images, copies, rows, columns), how much of each patch is defective
    localised: Tensor  # (images,), whether it is known where the image is defective

    def batch(self, images: Tensor, copies: Tensor) -> Inputs:
        return Inputs(*(stage[images, copies].float() for stage in self.stages))


def extract(
    labelled: Sequence[Labelled], backbone: EfficientNetLite, copies: int, seed: int, progress: Progress | None
) -> Copies:
    """Fewer copies of each where there are many images. TeachingFailed names an image that cannot be read."""
    copies = max(1, min(copies, MOST_COPIES // len(labelled)))
    draw = np.random.default_rng(seed)
    stages, coverages = [], []
    for number, one in enumerate(labelled, start=1):
        try:
            seen = [patches(changed, backbone) for changed in changed_copies(one, copies, draw)]
        except InspectionFailed as error:
            raise TeachingFailed(f"labelled image {number}: {error}") from error
        stages.append([torch.cat(stage) for stage in zip(*(found for found, _ in seen), strict=True)])
        coverages.append(torch.stack([covered for _, covered in seen]))
        if progress is not None:
            progress(number)
    localised = torch.tensor([one.mask is not None or not one.is_anomaly for one in labelled])
    return Copies(
        Inputs(*(torch.stack(stage) for stage in zip(*stages, strict=True))), torch.stack(coverages), localised
    )


def changed_copies(one: Labelled, copies: int, draw: np.random.Generator) -> list[Labelled]:
    """The image itself and changed ones; a mask goes along."""
    mask = None if one.mask is None else np.where(one.mask, 255, 0).astype(np.uint8)
    changed = [CHANGES.apply(one.image, mask, draw) for _ in range(copies - 1)]
    return [one, *(Labelled(image.copy(), one.is_anomaly, mask) for image, mask in changed)]


def patches(one: Labelled, backbone: EfficientNetLite) -> tuple[list[Tensor], Tensor]:
    """Half-precision features of one image, and how much of each patch is defective."""
    stages = inputs(backbone.features(one.image))
    side = stages.s16.shape[-1]
    covered = np.zeros((side, side), np.float32) if one.mask is None else coverage(one.mask, side)
    return [stage.half().cpu() for stage in stages], torch.from_numpy(covered)

"""Labelled images as the head learns from them: features extracted once, for the backbone is frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from storage.errors import InspectionFailed, TeachingFailed
from workers.detectors.detector import Image
from workers.detectors.frame_features import Half, Looker, checked
from workers.detectors.head import Inputs, pooled
from workers.detectors.head_reduction import Directions, reduced
from workers.detectors.labelled import Labelled, Seen, coverage
from workers.detectors.summary import cells_of, cells_of_frames

MIRRORINGS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Axes that are turned around: a mirrored image's features are nearly the mirrored features, and cost no forward."""
MIRRORED = 3
"""Looks at a mirrored image: nearly is not good enough for what sums up a frame in one row of numbers."""
CHUNK = 64  # images at once

Progress = Callable[[int], None]
One = TypeVar("One")


class Lessons(NamedTuple):
    """(images, ...)."""

    stages: Inputs  # half precision: they fill the memory
    coverage: Tensor  # (images, rows, columns), how much of each patch is defective
    localised: Tensor  # (images,), whether it is known where the image is defective

    def batch(self, images: Tensor, mirroring: tuple[int, ...] = ()) -> tuple[Inputs, Tensor]:
        """Features and coverage of these images, all mirrored alike."""
        stages = Inputs(*(stage[images].float().flip(mirroring) for stage in self.stages))
        return stages, self.coverage[images].flip(mirroring)

    def along(self, directions: Sequence[Directions]) -> Self:
        """The same, with fewer numbers a patch."""
        return self._replace(stages=reduced(self.stages, directions))


def look(labelled: Sequence[Labelled], looker: Looker, progress: Progress | None) -> list[Seen]:
    """TeachingFailed names an image that cannot be read."""
    found = []
    for number, one in enumerate(labelled, start=1):
        try:
            found.append(seen(one, looker))
        except InspectionFailed as error:
            raise TeachingFailed(f"labelled image {number}: {error}") from error
        if progress is not None:
            progress(number)
    return found


def seen(one: Labelled, looker: Looker) -> Seen:
    features = looker.features(one.image)
    covered = None if one.mask is None else coverage(one.mask, features.s16.shape[-1])
    return Seen(features, one.is_anomaly, covered, one.is_taught, mirrored=mirrored_cells(one.image, looker))


def mirrored_cells(image: Image, looker: Looker) -> Half:
    """(MIRRORED, cells, channels)."""
    looks = (looker.features(mirror(image, way)) for way in range(MIRRORED))
    return np.stack([cells_of(one.unpacked()).half().numpy() for one in looks])


def mirror(image: Image, way: int) -> Image:
    """(H, W) or (H, W, 3), one of `MIRRORED` ways: left and right exchanged, top and bottom, both."""
    return cast(Image, np.ascontiguousarray(np.flip(image, ((1,), (0,), (0, 1))[way])))


def lessons(frames: Sequence[Seen], looker: Looker) -> Lessons:
    """TeachingFailed when features are of another look."""
    features = [checked(one.features, looker.look) for one in frames]
    s8 = torch.cat([pooled(stacked([one.s8 for one in some]).float()).half() for some in chunks(features)])
    return Lessons(
        Inputs(s8, stacked([one.s16 for one in features]), stacked([one.s32 for one in features])),
        torch.stack([covered(one) for one in frames]),
        torch.tensor([one.coverage is not None or not one.is_anomaly for one in frames]),
    )


def cells(frames: Sequence[Seen]) -> Tensor:
    """(frames, cells, channels), as the machine that sums up a frame sees it."""
    return torch.cat(
        [
            cells_of_frames(
                stacked([one.features.s16 for one in some]).float(), stacked([one.features.s32 for one in some]).float()
            )
            for some in chunks(frames)
        ]
    )


def chunks(some: Sequence[One]) -> Iterator[Sequence[One]]:
    """So many at once that single precision does not fill the memory."""
    return (some[start : start + CHUNK] for start in range(0, len(some), CHUNK))


def stacked(stage: Sequence[Half]) -> Tensor:
    return torch.from_numpy(np.stack(stage))


def covered(one: Seen) -> Tensor:
    """(rows, columns); a good image is good everywhere."""
    shape = one.features.s16.shape[1:]
    if one.coverage is None:
        return torch.zeros(shape)
    if one.coverage.shape != shape:
        raise TeachingFailed(f"coverage is {one.coverage.shape}; allowed with these features: {shape}")
    return torch.from_numpy(one.coverage)

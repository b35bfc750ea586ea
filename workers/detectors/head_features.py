"""Labelled images as the head learns from them: features extracted once, for the backbone is frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from storage.errors import InspectionFailed, TeachingFailed
from workers.detectors.detector import Image
from workers.detectors.frame_features import FrameFeatures, Half, Looker
from workers.detectors.head import Inputs, pooled
from workers.detectors.head_reduction import Directions, reduced
from workers.detectors.labelled import Labelled, Marked, Seen, coverage
from workers.detectors.summary import cells_of, cells_of_frames

MIRRORINGS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Axes that are turned around: a mirrored image's features are nearly the mirrored features, and cost no forward."""
MIRRORED = 3
"""Looks at a mirrored image: nearly is not good enough for what sums up a frame in one row of numbers."""
CHUNK = 64  # images at once

Progress = Callable[[int], None]
One = TypeVar("One")


class Lessons(NamedTuple):
    """(images, ...), along a few directions of the features."""

    stages: Inputs  # half precision: they fill the memory
    coverage: Tensor  # (images, rows, columns), how much of each patch is defective
    localised: Tensor  # (images,), whether it is known where the image is defective

    def batch(self, images: Tensor, mirroring: tuple[int, ...] = ()) -> tuple[Inputs, Tensor]:
        """Features and coverage of these images, all mirrored alike."""
        stages = Inputs(*(stage[images].flip(mirroring).float() for stage in self.stages))
        return stages, self.coverage[images].flip(mirroring)


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


def lessons(frames: Sequence[Seen], along: Sequence[Directions]) -> Lessons:
    """With fewer numbers a patch, along these directions."""
    parts = [reduced(inputs_of([one.features for one in some]), along) for some in chunks(frames)]
    stages = Inputs(*(torch.cat(stage) for stage in zip(*parts, strict=True)))
    return told_of(stages, frames)


def told_of(stages: Inputs, frames: Sequence[Marked]) -> Lessons:
    """stages: of the frames, along some directions."""
    grid = (int(stages.s16.shape[2]), int(stages.s16.shape[3]))
    return Lessons(
        stages,
        torch.stack([covered(one, grid) for one in frames]),
        torch.tensor([one.coverage is not None or not one.is_anomaly for one in frames]),
    )


def inputs_of(features: Sequence[FrameFeatures]) -> Inputs:
    """Of a batch, in single precision."""
    s8, s16, s32 = (stacked(stage).float() for stage in zip(*features, strict=True))
    return Inputs(pooled(s8), s16, s32)


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


def covered(one: Marked, grid: tuple[int, int]) -> Tensor:
    """(rows, columns); a good image is good everywhere."""
    if one.coverage is None:
        return torch.zeros(grid)
    if one.coverage.shape != grid:
        raise TeachingFailed(f"coverage is {one.coverage.shape}; allowed with these features: {grid}")
    return torch.from_numpy(one.coverage)

"""What operators said of images, and whether it is enough to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.errors import TeachingFailed
from workers.detectors.detector import Image
from workers.detectors.frame_features import FrameFeatures, Half

LEAST_GROUPS_OF_A_CLASS = 2
"""With fewer, nothing can be held out of that class, and nothing be said of parts to come."""

Mask = NDArray[np.bool_] | NDArray[np.uint8]
"""(H, W) of its image; defective where it is not 0."""


@dataclass(frozen=True)
class Labelled:
    """An image and its label. A good image is good everywhere; an anomaly without a mask is defective somewhere."""

    image: Image
    is_anomaly: bool
    mask: Mask | None = None
    is_taught: bool = False
    """The one-class detector was taught from this very image: its score of it says nothing, the pixels still do."""


@dataclass(frozen=True)
class Seen:
    """A labelled image as the backbone's features: all that is learned from, so what a refit needs to be kept."""

    features: FrameFeatures
    is_anomaly: bool
    coverage: NDArray[np.float32] | None = None
    """(rows, columns) of the stride-16 grid: how much of each patch is defective; None where that is not known."""
    is_taught: bool = False
    disturbed: FrameFeatures | None = None
    """Of the same image in another light, out of focus, noisy or moved: learned from as well, never judged by."""
    mirrored: Half | None = None
    """(ways, cells, channels), what `summary.cells_of` gives of the same image mirrored in several ways: the machine
    that sums up a frame learns from them as well. The whole features would take thrice the memory."""


@dataclass(frozen=True)
class Decided:
    """What is known of an image beside what it looks like; as in `Seen`."""

    is_anomaly: bool
    coverage: NDArray[np.float32] | None = None
    is_taught: bool = False


class Marked(Protocol):
    """`Seen` or `Decided`."""

    @property
    def is_anomaly(self) -> bool: ...
    @property
    def coverage(self) -> NDArray[np.float32] | None: ...
    @property
    def is_taught(self) -> bool: ...


def check(labelled: Sequence[Labelled | Marked], groups: Sequence[str]) -> None:
    """TeachingFailed when labels contradict one another or are too few, with the numbers."""
    if len(groups) != len(labelled):
        raise TeachingFailed(f"{len(labelled)} labelled images were given and {len(groups)} groups; allowed: one each")
    for number, one in enumerate(labelled, start=1):
        check_one(number, one)
    for is_anomaly, what in ((False, "good"), (True, "defective")):
        count = len({group for one, group in zip(labelled, groups, strict=True) if judges(one, is_anomaly)})
        if count < LEAST_GROUPS_OF_A_CLASS:
            raise TeachingFailed(
                f"{count} {what} parts were given among {len(labelled)} labelled images (images the one-class "
                f"detector was taught from do not count); at least {LEAST_GROUPS_OF_A_CLASS} are needed",
                needed=LEAST_GROUPS_OF_A_CLASS,
                given=count,
            )


def judges(one: Labelled | Marked, is_anomaly: bool) -> bool:
    """Whether the label can say how good a score is for this class."""
    return one.is_anomaly is is_anomaly and not one.is_taught


def check_one(number: int, one: Labelled | Marked) -> None:
    if one.is_taught and one.is_anomaly:
        raise TeachingFailed(
            f"labelled image {number} is defective and was taught as known-good; it can be one of both"
        )
    if isinstance(one, Labelled):
        check_mask(number, one)


def check_mask(number: int, one: Labelled) -> None:
    if one.mask is None:
        return
    if one.mask.dtype not in (np.bool_, np.uint8):
        raise TeachingFailed(f"the mask of labelled image {number} is {one.mask.dtype}; allowed: bool or uint8")
    if one.mask.shape != one.image.shape[:2]:
        raise TeachingFailed(
            f"the mask of labelled image {number} is {one.mask.shape}, its image {one.image.shape[:2]}; "
            "allowed: the same height and width"
        )
    if one.is_anomaly != bool(one.mask.any()):
        raise TeachingFailed(
            f"labelled image {number} is {'defective' if one.is_anomaly else 'good'} and its mask marks "
            f"{int(np.count_nonzero(one.mask))} pixels; allowed: some in a defective image, none in a good one"
        )


def coverage(mask: NDArray[Any], side: int) -> NDArray[np.float32]:
    """(side, side): how much of each cell is defective."""
    marked = (mask != 0).astype(np.float32)
    return np.asarray(cv2.resize(marked, (side, side), interpolation=cv2.INTER_AREA), np.float32)

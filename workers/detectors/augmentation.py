"""Changed copies of training images; a mask goes along with every change of geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.errors import SettingsError
from workers.detectors.detector import Image

Mask = NDArray[np.uint8]
Pixels = TypeVar("Pixels", bound=NDArray[np.unsignedinteger[Any]])


@dataclass(frozen=True)
class Augmentation:
    """Which changes a training image may go through; the default is none, as published for AnomalyCLIP."""

    rotations_degrees: tuple[float, ...] = ()  # one of these or no rotation, each as likely
    scale: tuple[float, float] = (1.0, 1.0)  # drawn evenly between
    brightness: float = 0.0  # at most this part of full scale is added or taken away
    contrast: float = 0.0  # distances from the mean grow or shrink by at most this part
    gaussian_noise: float = 0.0  # standard deviation as a part of full scale, drawn between 0 and this
    salt_and_pepper: float = 0.0  # part of the pixels turned black or white, drawn between 0 and this
    horizontal_flip: float = 0.0  # probability
    vertical_flip: float = 0.0  # probability

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotations_degrees", tuple(self.rotations_degrees))
        object.__setattr__(self, "scale", tuple(self.scale))
        parts = ("brightness", "contrast", "gaussian_noise", "salt_and_pepper", "horizontal_flip", "vertical_flip")
        problems = [
            f"augmentation.{name}: given {getattr(self, name)}, allowed 0 to 1"
            for name in parts
            if not 0 <= getattr(self, name) <= 1
        ]
        if len(self.scale) != 2 or not 0.1 <= self.scale[0] <= self.scale[1] <= 10:
            problems.append(f"augmentation.scale: given {self.scale}, allowed a rising pair between 0.1 and 10")
        if problems:
            raise SettingsError(problems)

    @property
    def changes(self) -> bool:
        """Whether any image comes out different."""
        return self != Augmentation()

    def apply(self, image: Image, mask: Mask | None, draw: np.random.Generator) -> tuple[Image, Mask | None]:
        """A changed copy of the image and of its mask."""
        matrix = self._draw_geometry(image.shape[:2], draw)
        changed = _warp(image, matrix, cv2.INTER_LINEAR) if matrix is not None else image
        # Nearest: a mask between 0 and 255 would be read as defect everywhere that is not 0.
        moved = _warp(mask, matrix, cv2.INTER_NEAREST) if matrix is not None and mask is not None else mask
        axes = self._draw_flips(draw)
        changed = np.flip(changed, axes)
        moved = np.flip(moved, axes) if moved is not None else None
        return self._change_values(changed, draw), moved

    def _draw_geometry(self, size: Sequence[int], draw: np.random.Generator) -> NDArray[np.float64] | None:
        angle = float(draw.choice((0.0, *self.rotations_degrees)))
        scale = float(draw.uniform(*self.scale))
        if angle == 0 and scale == 1:
            return None
        height, width = size
        return np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale))

    def _draw_flips(self, draw: np.random.Generator) -> tuple[int, ...]:
        vertical, horizontal = draw.random(2) < (self.vertical_flip, self.horizontal_flip)
        return (0,) * bool(vertical) + (1,) * bool(horizontal)

    def _change_values(self, image: Image, draw: np.random.Generator) -> Image:
        full = float(np.iinfo(image.dtype).max)
        lift, stretch = draw.uniform(-1, 1, size=2) * (self.brightness, self.contrast)
        values = image.astype(np.float32)
        values = (values - values.mean()) * (1 + stretch) + values.mean() + lift * full
        values = values + draw.normal(size=image.shape) * draw.uniform(0, self.gaussian_noise) * full
        hit = draw.random(image.shape[:2]) < draw.uniform(0, self.salt_and_pepper)
        values[hit] = full * draw.integers(0, 2, size=(int(hit.sum()),) + (1,) * (image.ndim - 2))
        rounded: Image = values.round().clip(0, full).astype(image.dtype)
        return rounded


AD_CLIP = Augmentation(
    rotations_degrees=(45.0, 90.0, 135.0),
    scale=(0.8, 1.2),
    brightness=0.2,
    contrast=0.2,
    gaussian_noise=0.05,
    salt_and_pepper=0.02,
    horizontal_flip=0.5,
    vertical_flip=0.5,
)
"""Every change the AD-CLIP model card names."""


def _warp(pixels: Pixels, matrix: NDArray[np.float64], interpolation: int) -> Pixels:
    height, width = pixels.shape[:2]
    # Mirrored at the edges: a black corner would be learned as a defect.
    warped = cv2.warpAffine(pixels, matrix, (width, height), flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(pixels.dtype)  # type: ignore[return-value]  # cv2 keeps the type, its annotations do not

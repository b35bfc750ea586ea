"""What is measured of one frame: light, focus, and where its edges are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import Image
from workers.datasets.grey import grey

SIDE: Final = 256
"""Frames are measured as squares of so many pixels."""
COARSE: Final = 2.0  # pixels: details that a camera slightly out of focus still shows
DARKEST: Final = 1e-3

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """brightness, contrast and sharpness are logarithms: equal steps are equal factors.

    sharpness is that of fine details against coarse ones, so that neither light nor contrast changes it. edges is
    (SIDE, SIDE) with a mean of 1; width and height are the frame's own, in pixels.
    """

    brightness: float
    contrast: float
    sharpness: float
    edges: Picture
    width: int
    height: int


def look(image: Image, width: int | None = None, height: int | None = None) -> Look:
    """width and height: of the stored frame, where it was decoded smaller."""
    flat = grey(image)
    side = min(SIDE, *flat.shape)  # never enlarged: what lies between two pixels would be taken for detail
    square = np.asarray(cv2.resize(flat, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    coarse = np.asarray(cv2.GaussianBlur(square, (0, 0), COARSE), np.float32)
    steps = cv2.magnitude(cv2.Sobel(square, cv2.CV_32F, 1, 0), cv2.Sobel(square, cv2.CV_32F, 0, 1))
    return Look(
        brightness=logarithm(float(square.mean())),
        contrast=logarithm(float(cv2.resize(square, (16, 16), interpolation=cv2.INTER_AREA).std())),
        sharpness=logarithm(detail(square)) - logarithm(detail(coarse)),
        edges=relative(cv2.resize(steps, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)),
        width=width or image.shape[1],
        height=height or image.shape[0],
    )


def relative(steps: NDArray[Any]) -> Picture:
    """With a mean of 1, whatever the light; of an even picture 0."""
    return np.asarray(steps / max(float(steps.mean()), 1e-9), np.float32)


def detail(square: NDArray[np.float32]) -> float:
    """The deviation of the Laplacian; of what has none, hardly any."""
    return float(cv2.Laplacian(square, cv2.CV_32F).std()) + 1e-5


def logarithm(value: float) -> float:
    return float(np.log(max(value, 0.0) + DARKEST))

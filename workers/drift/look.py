"""What is measured of one frame: light, focus, and where its edges are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
    square = cv2.resize(grey(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(square, (0, 0), COARSE)
    steps = cv2.magnitude(cv2.Sobel(square, cv2.CV_32F, 1, 0), cv2.Sobel(square, cv2.CV_32F, 0, 1))
    return Look(
        brightness=logarithm(float(square.mean())),
        contrast=logarithm(float(cv2.resize(square, (16, 16), interpolation=cv2.INTER_AREA).std())),
        sharpness=logarithm(detail(square)) - logarithm(detail(coarse)),
        edges=np.asarray(steps / max(float(steps.mean()), 1e-9), np.float32),
        width=width or image.shape[1],
        height=height or image.shape[0],
    )


def detail(square: NDArray[np.generic]) -> float:
    """The deviation of the Laplacian; of what has none, hardly any."""
    return float(cv2.Laplacian(square, cv2.CV_32F).std()) + 1e-5


def logarithm(value: float) -> float:
    return float(np.log(max(value, 0.0) + DARKEST))

"""Local contrast: what stands out from its surroundings. A network that sees it sees no exposure and no shading."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

REACH = 0.1  # of the side: the standard deviation of the surroundings
FLOOR = 4.0  # of 255: an even surface's noise is not blown up to contrast
GREY, GAIN = 128.0, 32.0
COARSE = 8  # the surroundings are smooth: computed on an image so many times smaller

Pixels = NDArray[np.float32]


def local_contrast(pixels: Pixels) -> Pixels:
    """(H, W) or (H, W, 3) with values to 255, each against the mean and the deviation of its surroundings."""
    deviation = pixels - surroundings(pixels, REACH)
    # One deviation for all channels: a colour must not be blown up because it does not occur.
    energy = deviation**2 if deviation.ndim == 2 else (deviation**2).mean(axis=2)
    scale = np.sqrt(surroundings(energy, 2 * REACH)) + np.float32(FLOOR)
    contrast = deviation / (scale if deviation.ndim == 2 else scale[:, :, None])
    return np.asarray(np.clip(GREY + GAIN * contrast, 0, 255), dtype=np.float32)


def surroundings(pixels: Pixels, reach: float) -> Pixels:
    """Each pixel's Gaussian mean; reach: its standard deviation, as a share of the shorter side."""
    height, width = pixels.shape[:2]
    size = (max(width // COARSE, 1), max(height // COARSE, 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), reach * min(size))
    return cast(Pixels, cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))

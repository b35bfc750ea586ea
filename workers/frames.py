"""Colour frames of a given size made from real images, for measuring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import decode

NOISE_LEVELS = 2.0  # an upscaled image without a sensor's noise would compress far too well


def colour_frames(files: Sequence[Path], width: int, height: int) -> list[NDArray[np.uint8]]:
    """(height, width, 3) BGR frames: each image scaled up, with the noise that a sensor adds."""
    draw = np.random.default_rng(0)
    return [colour_frame(decode(file.read_bytes()), width, height, draw) for file in files]


def colour_frame(
    image: NDArray[np.uint8] | NDArray[np.uint16], width: int, height: int, draw: np.random.Generator
) -> NDArray[np.uint8]:
    pixels = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    scaled = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    noisy = scaled + NOISE_LEVELS * draw.standard_normal(scaled.shape, np.float32)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)

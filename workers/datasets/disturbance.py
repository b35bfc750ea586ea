"""What may happen to an image between the part and the record of it: light, focus, a noisy sensor, a camera moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import Image


def lit(image: Image, gain: float) -> Image:
    """As if the lamp were so many times as bright; what is then too bright is white."""
    return like(image, image.astype(np.float32) * np.float32(gain))


def blurred(image: Image, sigma: float) -> Image:
    """Out of focus: a Gaussian of so many pixels."""
    return like(image, cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT))


def noisy(image: Image, share: float, seed: int) -> Image:
    """A sensor's noise; its deviation is this share of white."""
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return like(image, image.astype(np.float32) + np.float32(share * np.iinfo(image.dtype).max) * noise)


def moved(image: Image, right: float, down: float) -> Image:
    """The camera or the part has moved by so many pixels; what comes into view continues what was at the edge."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = (image.shape[1], image.shape[0])
    return like(image, cv2.warpAffine(image.astype(np.float32), matrix, size, borderMode=cv2.BORDER_REPLICATE))


def like(image: Image, values: NDArray[Any]) -> Image:
    """The values as pixels of the image's depth."""
    whole = np.clip(np.rint(values), 0, np.iinfo(image.dtype).max)
    return np.asarray(whole, np.uint16) if image.dtype == np.uint16 else np.asarray(whole, np.uint8)


DISTURBANCES: Final[Mapping[str, Callable[[Image, int], Image]]] = {
    "darker": lambda image, seed: lit(image, 0.85),
    "brighter": lambda image, seed: lit(image, 1.15),
    "blurred": lambda image, seed: blurred(image, relative(image, 0.004)),
    "noisy": lambda image, seed: noisy(image, 0.02, seed),
    "moved": lambda image, seed: moved(image, relative(image, 0.012), relative(image, -0.008)),
}
"""What a line sees in a year without anybody calling it a fault; the second value makes noise repeatable."""


def drawn(image: Image, seed: int) -> Image:
    """One such disturbance, of a strength up to somewhat more than theirs, by lot."""
    luck = np.random.default_rng(seed)
    kind, strength = int(luck.integers(4)), luck.uniform(0.3, 1.4)
    if kind == 0:
        return lit(image, 1 + 0.15 * strength * luck.choice((-1, 1)))
    if kind == 1:
        return blurred(image, relative(image, 0.004 * strength))
    if kind == 2:
        return noisy(image, 0.02 * strength, seed)
    angle = luck.uniform(0, 2 * np.pi)
    reach = relative(image, 0.0144 * strength)
    return moved(image, reach * np.cos(angle), reach * np.sin(angle))


def relative(image: Image, share: float) -> float:
    """Pixels: this share of the shorter side."""
    return share * float(min(image.shape[:2]))

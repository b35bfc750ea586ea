"""Colour from a sensor with a Bayer mosaic."""

from __future__ import annotations

from typing import Final, Literal, cast

import cv2

from storage.errors import ImageUnreadable
from storage.images import Image

BayerPattern = Literal["rggb", "grbg", "gbrg", "bggr"]

CONVERSIONS: Final[dict[BayerPattern, int]] = {
    "rggb": cv2.COLOR_BayerRGGB2BGR,
    "grbg": cv2.COLOR_BayerGRBG2BGR,
    "gbrg": cv2.COLOR_BayerGBRG2BGR,
    "bggr": cv2.COLOR_BayerBGGR2BGR,
}


def demosaic(mosaic: Image, pattern: BayerPattern) -> Image:
    """BGR pixels of the same size and depth; the pattern names the first two pixels of the first two rows."""
    if mosaic.ndim != 2 or min(mosaic.shape) < 2:
        raise ImageUnreadable(f"a Bayer mosaic is one grey image, not of shape {mosaic.shape}")
    return cast(Image, cv2.cvtColor(mosaic, CONVERSIONS[pattern]))

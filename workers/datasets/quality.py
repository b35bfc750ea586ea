"""Which images are blurred or badly exposed, measured against the others of the set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import Image
from workers.datasets.grey import grey

SIDE: Final = 256
FAR: Final = 3.5  # robust deviations: the usual bound for outliers (Iglewicz and Hoaglin, 1993)
CLIPPED_LIMIT: Final = 0.5  # of the pixels at the very end of the scale: nothing is to be seen there
DARK, BRIGHT = 0.01, 0.99


@dataclass(frozen=True)
class Quality:
    """sharpness is the variance of the Laplacian of 256x256 grey pixels; brightness and clipped are in [0, 1]."""

    sharpness: float
    brightness: float
    clipped: float
    """The share of pixels that are black or white."""


def measure(image: Image) -> Quality:
    square = cv2.resize(grey(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    edges = cv2.Laplacian(square * np.float32(255), cv2.CV_32F)
    return Quality(
        sharpness=float(edges.var()),
        brightness=float(square.mean()),
        clipped=float(((square <= DARK) | (square >= BRIGHT)).mean()),
    )


def blurred(qualities: list[Quality]) -> list[int]:
    """The places of images far less sharp than the others, the least sharp first."""
    # As logarithms: twice as sharp is as far from the median as half as sharp.
    deviations = robust(np.log([max(one.sharpness, 1e-6) for one in qualities]))
    return [int(place) for place in np.argsort(deviations, kind="stable") if deviations[place] < -FAR]


def misexposed(qualities: list[Quality]) -> list[int]:
    """The places of images far brighter or darker than the others, or mostly black or white."""
    deviations = np.abs(robust(np.array([one.brightness for one in qualities])))
    clipped = np.array([one.clipped for one in qualities]) > CLIPPED_LIMIT
    found = np.flatnonzero((deviations > FAR) | clipped)
    return [int(place) for place in found[np.argsort(-deviations[found], kind="stable")]]


def robust(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances from the median in deviations that outliers do not widen; 0 where all are alike."""
    distances = values - np.median(values)
    deviation = 1.4826 * np.median(np.abs(distances))
    return np.asarray(distances / max(float(deviation), 1e-3))

"""How well anomaly maps find the defective pixels.

AUPRO: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021 (and CVPR 2019): the mean overlap with each
connected defect, over the false-positive rate of all good pixels, integrated up to 0.3 and divided by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc

from workers.datasets.truth import Mask, regions

LEVELS: Final = 65_536
"""Scores are counted in so many steps: memory does not grow with the images, and an area errs by less than 1e-4."""
FALSE_POSITIVE_LIMIT: Final = 0.3
SMALLEST_WIDTH: Final = 1e-12  # maps that are all alike give one level, not a division by zero

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """Steps between the lowest and the highest score of all maps that are compared."""

    low: float
    high: float

    def of(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        width = max(self.high - self.low, SMALLEST_WIDTH)
        return np.asarray(((scores - self.low) / width * (LEVELS - 1)).clip(0, LEVELS - 1), np.int64)


@dataclass(frozen=True)
class PixelCounts:
    """How many pixels scored at each level; the counts of images add up."""

    good: Counts
    defective: Counts
    overlap: Counts
    """As `defective`, with each connected defect weighing 1 in all, however large it is."""
    defects: int

    @classmethod
    def none(cls) -> PixelCounts:
        return cls(np.zeros(LEVELS), np.zeros(LEVELS), np.zeros(LEVELS), 0)

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(
            self.good + other.good,
            self.defective + other.defective,
            self.overlap + other.overlap,
            self.defects + other.defects,
        )

    def auroc(self) -> float | None:
        """None when there are no good or no defective pixels."""
        if not self.good.any() or not self.defective.any():
            return None
        return float(auc(caught(self.good), caught(self.defective)))

    def aupro(self) -> float | None:
        if not self.good.any() or not self.defects:
            return None
        false_positives, overlap = caught(self.good), caught(self.overlap)
        inside = false_positives < FALSE_POSITIVE_LIMIT
        at_limit = np.interp(FALSE_POSITIVE_LIMIT, false_positives, overlap)
        x = np.append(false_positives[inside], FALSE_POSITIVE_LIMIT)
        return float(auc(x, np.append(overlap[inside], at_limit)) / FALSE_POSITIVE_LIMIT)


def caught(counts: Counts) -> Counts:
    """The share at or above each level, from the highest down; begins with 0."""
    share: Counts = np.append(0, counts[::-1].cumsum()) / counts.sum()
    return share


def count_pixels(anomaly_map: NDArray[np.float32], mask: Mask, levels: Levels) -> PixelCounts:
    """One image, at the size of its mask; the (h, w) map is enlarged to it."""
    height, width = mask.shape
    found = levels.of(np.asarray(cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR), np.float32))
    numbers = regions(mask)[mask]
    sizes = np.bincount(numbers)
    return PixelCounts(
        good=histogram(found[~mask]),
        defective=histogram(found[mask]),
        overlap=histogram(found[mask], 1 / sizes[numbers]),
        defects=int((sizes > 0).sum()),
    )


def histogram(levels: NDArray[np.int64], weights: Counts | None = None) -> Counts:
    return np.bincount(levels, weights, minlength=LEVELS).astype(np.float64)

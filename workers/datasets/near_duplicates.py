"""Images that show the same: to the byte, or to the eye.

To the eye: a 64-bit perceptual hash, the signs of the lowest 8x8 frequencies (discrete cosine transform of 32x32 grey
pixels) about their median; Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import Image
from workers.datasets.grey import grey
from workers.datasets.sample import Dataset, Sample

SIDE, LOWEST = 32, 8
NEAR: Final = 4
"""Bits of 64 that may differ."""
ROWS: Final = 512  # compared with all others at a time: memory stays at a few megabytes


@dataclass(frozen=True)
class Pair:
    """Two images alike; distance is in bits, None for files that are equal to the byte."""

    first: Sample
    second: Sample
    distance: int | None

    @property
    def leaks(self) -> bool:
        """What was learned from is judged."""
        return {self.first.split, self.second.split} == {"train", "test"}


def perceptual_hash(image: Image) -> int:
    """64 bits; the image's brightness and contrast do not change them."""
    small = cv2.resize(grey(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:LOWEST, :LOWEST].ravel()
    above = low > np.median(low[1:])
    return int.from_bytes(np.packbits(above).tobytes(), "big")


def equal_files(dataset: Dataset) -> list[Pair]:
    """Pairs of files with the same bytes."""
    by_hash: dict[str, list[Sample]] = {}
    for sample in dataset.samples:
        content = sha256(dataset.file(sample.path).read_bytes()).hexdigest()
        by_hash.setdefault(content, []).append(sample)
    return [Pair(*two, None) for alike in by_hash.values() for two in combinations(alike, 2)]


def near_pairs(samples: Sequence[Sample], hashes: Sequence[int], most_bits: int = NEAR) -> list[Pair]:
    """Pairs whose hashes differ in at most so many bits, the most alike first."""
    codes: NDArray[np.uint64] = np.array(hashes, np.uint64)
    pairs = []
    for start in range(0, len(codes), ROWS):
        distances = np.bitwise_count(codes[start : start + ROWS, None] ^ codes)
        for row, column in zip(*np.nonzero(distances <= most_bits), strict=True):
            if start + row < column:
                pairs.append(Pair(samples[start + row], samples[column], int(distances[row, column])))
    return sorted(pairs, key=lambda pair: pair.distance or 0)

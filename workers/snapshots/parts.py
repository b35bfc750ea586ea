"""Which images show one part: they are never split up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from storage.snapshots import IMAGE, PART
from workers.datasets.near_duplicates import NEAR
from workers.snapshots.row import Row

ALIKE: Final = 0.995
"""Cosine of the embeddings of one picture encoded anew or made a little brighter; perceptual hashes alone call images
alike that are not (of 242 pairs among 1,074 solar cells, most)."""
MOST_ALIKE: Final = 0.2
"""Where one image looks like more of the others, likeness does not tell two parts of this product apart."""
FEW: Final = 8  # alike images are a part that was seen again, however few images there are


@dataclass(frozen=True)
class Part:
    """Places of the images that show it, and everything it is known by."""

    places: tuple[int, ...]
    keys: frozenset[str]

    @property
    def key(self) -> str:
        """Its name: a serial number where there is one."""
        return min(self.keys, key=lambda key: (not key.startswith(PART), key.startswith(IMAGE), key))


def near_duplicates(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Pairs of images that show the same to the eye and to the detector; none where all parts look the same."""
    places = [place for place, row in enumerate(rows) if row.look is not None]
    looks = [row.look for row in rows if row.look is not None]
    if len(looks) < 2:
        return []
    hashes = np.array([look.perceptual_hash for look in looks], np.uint64)
    vectors = np.array([look.embedding for look in looks], np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    pairs = []
    for first in range(len(looks) - 1):
        bits = np.bitwise_count(hashes[first] ^ hashes[first + 1 :])
        for second in first + 1 + np.flatnonzero(bits <= NEAR):
            if vectors[first] @ vectors[second] >= ALIKE:
                pairs.append((places[first], places[int(second)]))
    most = max(Counter(place for pair in pairs for place in pair).values(), default=0)
    return [] if most > max(FEW, MOST_ALIKE * len(looks)) else pairs


def parts(rows: Sequence[Row], alike: Sequence[tuple[int, int]]) -> list[Part]:
    """Images are of one part when they share a name, or look the same and do not have serial numbers that differ."""
    leaders = list(range(len(rows)))

    def leader(place: int) -> int:
        while leaders[place] != place:
            leaders[place] = place = leaders[leaders[place]]
        return place

    named: dict[str, int] = {}
    for place, row in enumerate(rows):
        for key in row.keys:
            leaders[leader(place)] = leader(named.setdefault(key, place))
    for first, second in alike:
        if not (rows[first].part_ids and rows[second].part_ids):
            leaders[leader(first)] = leader(second)
    found: dict[int, list[int]] = {}
    for place in range(len(rows)):
        found.setdefault(leader(place), []).append(place)
    return [
        Part(tuple(places), frozenset(key for place in places for key in rows[place].keys)) for places in found.values()
    ]

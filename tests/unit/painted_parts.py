"""Brushed metal with painted defects, so small that a head is trained in a second.

Some good parts have a harmless bright stamp, which a one-class detector finds odd.
"""

from __future__ import annotations

import numpy as np

from tests.painted import SIDE, good_part
from workers.detectors.detector import Image
from workers.detectors.labelled import Labelled, Mask


def place(number: int) -> tuple[slice, slice]:
    row, column = np.random.default_rng(number + 10_000).integers(8, SIDE - 32, 2)
    return slice(row, row + 24), slice(column, column + 24)


def stamped(number: int) -> Image:
    """Harmless and unlike any taught part."""
    image = good_part(number)
    image[place(number)] = 250
    return image


def pitted(number: int) -> tuple[Image, Mask]:
    """Defective: a patch of fine checks, fainter than the stamp."""
    image, mask = good_part(number), np.zeros((SIDE, SIDE), np.bool_)
    rows, columns = place(number)
    checks = 30 * ((np.arange(24)[:, None] // 3 + np.arange(24) // 3) % 2)
    image[rows, columns] = (image[rows, columns] - 15 + checks).astype(np.uint8)
    mask[rows, columns] = True
    return image, mask


def labelled_parts(count: int, *, masks: bool = True, start: int = 1000) -> list[Labelled]:
    """As many good parts as defective ones; half of the good ones are stamped."""
    parts = []
    for number in range(start, start + count):
        image, mask = pitted(number)
        parts.append(Labelled(image, True, mask if masks else None))
        parts.append(Labelled(stamped(number) if number % 2 else good_part(number), False))
    return parts

"""A large frame in overlapping tiles, each scored at the full resolution of the detector, and their maps as one map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.errors import ModelConfigurationWrong
from workers.detectors.detector import Image

OVERLAP = 8  # neighbours share one patch row in so many, at least one: a defect on a seam is whole in one of them
WHOLE = "1x1"
MOST = 12  # rows or columns


class Tiles(NamedTuple):
    """How many tiles a frame is cut into: (1, 1) leaves it whole."""

    rows: int
    columns: int

    @classmethod
    def parse(cls, text: str) -> Tiles:
        """`2x3` is two rows of three tiles."""
        found = re.fullmatch(r"(\d{1,2})x(\d{1,2})", text)
        tiles = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not (1 <= tiles.rows <= MOST and 1 <= tiles.columns <= MOST):
            raise ModelConfigurationWrong(f'tiles is "{text}"; allowed: ROWSxCOLUMNS, each from 1 to {MOST}')
        return tiles

    def minimum_side(self, image_size: int) -> int:
        """No smaller may a frame be decoded, or its tiles would be enlarged again."""
        return image_size * max(self)

    def cut(self, image: Image, grid: int) -> list[Image]:
        """The tiles, row by row; grid: patches along a side of one tile."""
        down, across = spans(image.shape[0], self.rows, grid), spans(image.shape[1], self.columns, grid)
        return [image[top:bottom, left:right] for top, bottom in down for left, right in across]

    def stitch(self, maps: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """One map of the frame from those of its tiles, each (grid, grid); where two overlap, the worse counts."""
        grid = len(maps[0])
        tops, lefts = starts(self.rows, grid), starts(self.columns, grid)
        whole = np.full((tops[-1] + grid, lefts[-1] + grid), -np.inf)
        places = [(top, left) for top in tops for left in lefts]
        for (top, left), one in zip(places, maps, strict=True):
            part = whole[top : top + grid, left : left + grid]
            np.maximum(part, one, out=part)
        return whole


def starts(count: int, grid: int) -> list[int]:
    """Where the tiles begin, in patches of the whole."""
    step = grid - max(1, grid // OVERLAP)
    return [number * step for number in range(count)]


def spans(pixels: int, count: int, grid: int) -> list[tuple[int, int]]:
    """From where to where the tiles reach along a side, in pixels, at least one each."""
    begins = starts(count, grid)
    scale = pixels / (begins[-1] + grid)
    ends = [(round(begin * scale), round((begin + grid) * scale)) for begin in begins]
    return [(min(first, pixels - 1), max(last, min(first, pixels - 1) + 1)) for first, last in ends]

"""A few numbers in place of an embedding: cheap to keep with each prediction, enough to see that parts differ."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

DIRECTIONS: Final = 8


def projected(embedding: NDArray[np.float32] | None, model_version: str) -> tuple[float, ...] | None:
    """Its place along the directions of that model version; None where there is no embedding."""
    if embedding is None or not np.isfinite(embedding).all():
        return None
    found = directions(model_version, embedding.size) @ embedding.ravel()
    return tuple(float(f"{value:.6g}") for value in found)


@lru_cache(maxsize=8)
def directions(model_version: str, size: int) -> NDArray[np.float32]:
    """(DIRECTIONS, size), each of length 1: at random, and always the same for a version, whatever NumPy's release."""
    drawn = np.random.RandomState(crc32(model_version.encode())).standard_normal((DIRECTIONS, size))
    found: NDArray[np.float32] = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return found

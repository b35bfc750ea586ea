"""Whether a detector keeps something of the batches it scored."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import torch

from workers.detectors.detector import Detector, Image


def growth(detector: Detector, batch: Sequence[Image]) -> tuple[int, int]:
    """Of eighteen more batches: bytes in tensors, and bytes that Python and numpy allocated.

    The smaller of two measurements: what is kept of batches is kept each time, what other threads leave is not.
    """

    def kept(batches: int) -> tuple[int, int]:
        for _ in range(batches):
            detector.predict(batch)
        gc.collect()
        tensors = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
        return sum(one.untyped_storage().nbytes() for one in tensors), tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        kept(2)
        marks = [kept(2), kept(18), kept(18)]
    finally:
        tracemalloc.stop()
    steps = list(pairwise(marks))
    return min(after[0] - before[0] for before, after in steps), min(after[1] - before[1] for before, after in steps)

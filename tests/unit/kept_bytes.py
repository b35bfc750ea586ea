"""Whether a detector keeps something of the batches it scored."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence

import torch

from workers.detectors.detector import Detector, Image


def growth(detector: Detector, batch: Sequence[Image]) -> tuple[int, int]:
    """Of eighteen more batches: bytes in tensors, and bytes that Python and numpy allocated."""

    def kept(batches: int) -> tuple[int, int]:
        for _ in range(batches):
            detector.predict(batch)
        gc.collect()
        tensors = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
        return sum(one.untyped_storage().nbytes() for one in tensors), tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        kept(2)
        few, many = kept(2), kept(20)
    finally:
        tracemalloc.stop()
    return many[0] - few[0], many[1] - few[1]

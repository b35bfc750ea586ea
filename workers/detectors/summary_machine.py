"""A support vector machine on the summary of a frame.

Cortes, Vapnik, "Support-Vector Networks", Machine Learning 20 (1995).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from storage.errors import ModelError
from workers.detectors.summary import Whitening, summary

NARROWNESS = 0.5  # of the Gaussian kernel, on distances in standard deviations averaged over the numbers of a summary
NAMES = ("mean", "matrix", "centre", "scale", "vectors", "weights", "offset")


class SummaryMachine:
    """The margin of a frame: above 0 is defective."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        missing = [name for name in NAMES if name not in tensors]
        if missing:
            raise ModelError(f"the summary's machine has no {', '.join(missing)}")
        self.tensors = {name: tensors[name] for name in NAMES}
        self.whitening = Whitening(tensors["mean"], tensors["matrix"])

    def margins(self, cells: Tensor) -> Tensor:
        """(frames, cells, channels) to (frames,)."""
        own = self.tensors
        rows = (summary(cells, self.whitening) - own["centre"]) / own["scale"]
        return kernel(rows, own["vectors"]) @ own["weights"] + own["offset"]

    def to(self, device: torch.device) -> Self:
        return type(self)({name: tensor.to(device) for name, tensor in self.tensors.items()})


def kernel(rows: Tensor, vectors: Tensor) -> Tensor:
    """(rows, n) and (vectors, n) to (rows, vectors)."""
    squares = rows.square().mean(1)[:, None] + vectors.square().mean(1) - 2 * rows @ vectors.T / rows.shape[1]
    return (-NARROWNESS * squares.clamp_min(0)).exp()

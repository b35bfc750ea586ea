"""The Gaussian: how far out a patch lies in the distribution of known-good patches, and of those at its place.

Rippel et al., "Modeling the Distribution of Normal Data in Pre-Trained Deep Features", ICPR 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

BLOCK = 128  # channels multiplied at once
SHRINKAGE = 0.01  # of the covariance, towards its mean variance
NEIGHBOURS = 7  # patches along a side that count as one place
SMALLEST_DEVIATION = 0.5  # of the mean deviation: a place that hardly varied must not decide alone


class PatchGaussian:
    """Mahalanobis distances."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.mean, whitening = tensors["mean"], tensors["whitening"]
        # Above its diagonal the whitening is 0: what lies there need not be multiplied.
        starts = range(0, len(whitening), BLOCK)
        self.blocks = [(start, whitening[start:, start : start + BLOCK].contiguous()) for start in starts]

    def distances(self, coarse: Tensor) -> Tensor:
        """How far out each patch lies, (patches, channels) to (patches,)."""
        out = coarse - self.mean
        return torch.stack([(out[:, start:] @ block).square().sum(1) for start, block in self.blocks]).sum(0).sqrt()


class Moments(NamedTuple):
    """Of some frames' coarse patches about an origin; those of more frames are their sums."""

    rows: int
    first: Tensor  # (channels,), in double precision
    second: Tensor  # (channels, channels), in double precision


def moments_of(frames: Iterable[Tensor], origin: Tensor) -> Moments:
    """frames: each (patches, channels). About an origin near their mean, or single precision would not do."""
    count, first = 0, torch.zeros_like(origin, dtype=torch.float64)
    second = torch.zeros(len(origin), len(origin), dtype=torch.float64)
    for frame in frames:
        rows = frame - origin
        count += len(rows)
        first += rows.sum(0, dtype=torch.float64)
        second += (rows.T @ rows).double()
    return Moments(count, first, second)


def learn_gaussian(moments: Sequence[Moments], origin: Tensor) -> dict[str, Tensor]:
    """The mean, and the matrix that turns a deviation into one of unit variance."""
    count = sum(one.rows for one in moments)
    mean = torch.stack([one.first for one in moments]).sum(0) / count
    covariance = torch.stack([one.second for one in moments]).sum(0) / count - torch.outer(mean, mean)
    # Shrunk, or a channel that never varied in the taught images would make any change in it infinitely far.
    covariance.diagonal().add_(SHRINKAGE * covariance.diagonal().mean() + 1e-12)
    whitening = torch.linalg.cholesky(torch.linalg.inv(covariance)).float()
    return {"mean": origin + mean.float(), "whitening": whitening}


def learn_places(maps: Tensor) -> dict[str, Tensor]:
    """Mean and deviation of known-good distances at each place; maps: (images, rows, columns).

    Edges and textured regions of a part are always farther out than its plain ones.
    """
    mean, variance = around(maps.mean(0)), around(maps.var(0, correction=0))
    deviation = variance.sqrt()
    floor = (SMALLEST_DEVIATION * deviation.mean()).clamp_min(1e-6)
    return {"place_mean": mean, "place_deviation": deviation.clamp_min(floor)}


def around(place: Tensor) -> Tensor:
    """(rows, columns), each the mean of its neighbourhood."""
    return avg_pool2d(place[None, None], NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)[0, 0]

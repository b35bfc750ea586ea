"""The Gaussian: how far out a patch lies in the distribution of known-good patches, and of those at its place.

Rippel et al., "Modeling the Distribution of Normal Data in Pre-Trained Deep Features", ICPR 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

SHRINKAGE = 0.01  # of the covariance, towards its mean variance
NEIGHBOURS = 7  # patches along a side that count as one place
SMALLEST_DEVIATION = 0.5  # of the mean deviation: a place that hardly varied must not decide alone


class PatchGaussian:
    """Mahalanobis distances."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.mean, self.whitening = tensors["mean"], tensors["whitening"]

    def distances(self, coarse: Tensor) -> Tensor:
        """How far out each patch lies, (patches, channels) to (patches,)."""
        return ((coarse - self.mean) @ self.whitening).square().sum(1).sqrt()


def learn_gaussian(images: Sequence[Tensor]) -> dict[str, Tensor]:
    """The mean, and the matrix that turns a deviation into one of unit variance.

    images: the coarse patches of each known-good image.
    """
    count = sum(map(len, images))
    mean = (torch.stack([one.sum(0, dtype=torch.float64) for one in images]).sum(0) / count).float()
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for one in images:
        covariance += ((one - mean).T @ (one - mean)).double()
    covariance /= max(count - 1, 1)
    # Shrunk, or a channel that never varied in the taught images would make any change in it infinitely far.
    covariance.diagonal().add_(SHRINKAGE * covariance.diagonal().mean() + 1e-12)
    return {"mean": mean, "whitening": torch.linalg.cholesky(torch.linalg.inv(covariance)).float()}


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

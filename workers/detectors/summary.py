"""A frame in one row of numbers: how its patches differ from the usual ones each way, on average and at worst.

Directions are whitened (ZCA) by the second moments of all frames learned from, good and defective alike: whitened by
good ones alone, these would look more usual than good ones to come, and a machine would learn just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from workers.detectors.efficientnet_lite import Features

SHRINKAGE = 0.01  # of the covariance, towards its mean variance
WORST_SHARE = 1 / 16  # of the cells
FLOOR = 0.1  # of an energy, in variances: its logarithm is taken


class Moments(NamedTuple):
    """Of the cells of some frames; they add up."""

    rows: int
    first: Tensor  # (channels,)
    second: Tensor  # (channels, channels)


class Whitening(NamedTuple):
    mean: Tensor  # (channels,)
    matrix: Tensor  # (channels, channels), symmetric


def cells_of(features: Features) -> Tensor:
    """(cells, channels): strides 16 and 32 with their surroundings, on the stride-32 grid."""
    return cells_of_frames(features.s16[None], features.s32[None])[0]


def cells_of_frames(s16: Tensor, s32: Tensor) -> Tensor:
    """The same of several frames: (frames, channels, rows, columns) each, to (frames, cells, channels).

    Means of 4x4 patches around each second one, and of 3x3; as products they take half the time of torch's pooling.
    """
    each = [meant(s16, means(s16.shape[-1], 4, 2)), meant(s32, means(s32.shape[-1], 3, 1))]
    return torch.cat(each, 3).flatten(1, 2)


def meant(stage: Tensor, line: Tensor) -> Tensor:
    """(frames, channels, h, w) to (frames, rows, columns, channels)."""
    line = line.to(stage.device)
    return torch.einsum("ih,bchw,jw->bijc", line, stage, line)


@cache
def means(side: int, reach: int, step: int) -> Tensor:
    """(cells, side) of a line: each cell is the mean of so many patches, fewer at the edges."""
    starts = torch.arange(-1, side - reach + 2, step)[:, None]
    within = (torch.arange(side) >= starts) & (torch.arange(side) < starts + reach)
    return within / within.sum(1, keepdim=True)


def moments_of(cells: Tensor) -> Moments:
    """Of every other cell of these frames, as on a chessboard, (frames, cells, channels): neighbours see much the
    same."""
    side = int(cells.shape[1] ** 0.5)
    places = [place for place in range(cells.shape[1]) if (place // side + place % side) % 2 == 0]
    rows = cells[:, places].flatten(0, 1)
    return Moments(len(rows), rows.sum(0, dtype=torch.float64), (rows.T @ rows).double())


def learn_whitening(moments: Sequence[Moments]) -> Whitening:
    count = sum(one.rows for one in moments)
    mean = torch.stack([one.first for one in moments]).sum(0) / count
    covariance = torch.stack([one.second for one in moments]).sum(0) / count - torch.outer(mean, mean)
    covariance.diagonal().add_(SHRINKAGE * covariance.diagonal().mean() + 1e-12)
    values, vectors = torch.linalg.eigh(covariance)
    # Symmetric, so that a direction stays the same one whichever frames the whitening was learned from.
    return Whitening(mean.float(), ((vectors / values.sqrt()) @ vectors.T).float())


def summary(cells: Tensor, whitening: Whitening) -> Tensor:
    """(frames, cells, channels) to (frames, 4 * channels + 3)."""
    white = (cells - whitening.mean) @ whitening.matrix
    energies = white.square()
    far = energies.sum(2)  # (frames, cells)
    worst = far.topk(max(1, int(WORST_SHARE * far.shape[1])), 1)
    places = worst.indices[:, :, None].expand(-1, -1, white.shape[2])
    distances = [far.sqrt().mean(1), worst.values.sqrt().mean(1), far.amax(1).sqrt()]
    return torch.cat(
        [
            white.mean(1),
            (energies.mean(1) + FLOOR).log(),
            white.gather(1, places).mean(1),
            (energies.gather(1, places).mean(1) + FLOOR).log(),
            torch.stack(distances, 1),
        ],
        1,
    )

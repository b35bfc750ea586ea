"""The few patches that cover the many."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from workers.detectors.telling import Told


class Start(NamedTuple):
    """What chance decides, which needs no patch to be known."""

    directions: Tensor  # (numbers a patch, numbers it is reduced to)
    first: int

    @classmethod
    def drawn(cls, patches: int, width: int, projection: int, generator: torch.Generator) -> Self:
        directions = torch.randn(width, projection, generator=generator) / projection**0.5
        return cls(directions, int(torch.randint(patches, (1,), generator=generator)))


def coreset(
    patches: Tensor, size: int, projection: int, generator: torch.Generator, told: Told | None = None
) -> Tensor:
    """Greedy k-center on a random projection: each pick is the patch farthest from all picked before it."""
    start = Start.drawn(len(patches), patches.shape[1], projection, generator)
    return coreset_from(start, patches, size, told)


def coreset_from(start: Start, patches: Tensor, size: int, told: Told | None = None) -> Tensor:
    """As `coreset`, for who drew before."""
    points = patches @ start.directions
    norms = points.square().sum(1)
    farness = torch.full((len(points),), torch.inf)
    picks = [start.first]
    for _ in range(min(size, len(points)) - 1):
        latest = points[picks[-1]]
        torch.minimum(farness, torch.addmv(norms, points, latest, alpha=-2) + norms[picks[-1]], out=farness)
        picks.append(int(farness.argmax()))
        if told is not None and len(picks) % 50 == 0:
            told(len(picks) / size)
    return torch.tensor(picks)

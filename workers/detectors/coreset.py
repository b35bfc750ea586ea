"""The few patches that cover the many."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.detectors.telling import Told


def coreset(
    patches: Tensor, size: int, projection: int, generator: torch.Generator, told: Told | None = None
) -> Tensor:
    """Greedy k-center on a random projection: each pick is the patch farthest from all picked before it."""
    directions = torch.randn(patches.shape[1], projection, generator=generator) / projection**0.5
    points = patches @ directions
    norms = points.square().sum(1)
    farness = torch.full((len(points),), torch.inf)
    picks = [int(torch.randint(len(points), (1,), generator=generator))]
    for _ in range(min(size, len(points)) - 1):
        latest = points[picks[-1]]
        torch.minimum(farness, torch.addmv(norms, points, latest, alpha=-2) + norms[picks[-1]], out=farness)
        picks.append(int(farness.argmax()))
        if told is not None and len(picks) % 50 == 0:
            told(len(picks) / size)
    return torch.tensor(picks)

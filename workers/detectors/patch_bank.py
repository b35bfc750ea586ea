"""The bank: a coreset of known-good patches, and how far a patch is from the nearest of them.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from workers.detectors.coreset import coreset
from workers.detectors.telling import Told

MOST_PATCHES = 30_000  # the coreset is chosen among at most so many, drawn at random beyond that
PROJECTION = 32  # numbers a patch is reduced to while it is chosen


class PatchBank:
    """Distances in the unit of the known-good patches' standard deviations."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.centre, self.scale, self.bank = tensors["centre"], tensors["scale"], tensors["bank"]
        self.bank_norms = self.bank.square().sum(1)

    def distances(self, fine: Tensor) -> Tensor:
        """The distance of each patch, (patches, channels), to the nearest in the bank."""
        patches = (fine - self.centre) / self.scale
        # |p - b|^2 = |p|^2 - 2 p.b + |b|^2: one matrix product, with the bank's norms known beforehand.
        squares = torch.addmm(self.bank_norms, patches, self.bank.T, alpha=-2)  # (patches, bank)
        return (squares.amin(1) + patches.square().sum(1)).clamp_min(0).sqrt()


def learn_bank(
    images: Sequence[Tensor], size: int, generator: torch.Generator, told: Told | None = None
) -> dict[str, Tensor]:
    """The tensors of a bank; images: the fine patches of each known-good image."""
    fine = torch.cat(list(images))  # (images * patches, channels)
    centre, scale = fine.mean(0), fine.std(0).clamp_min(1e-6)
    if len(fine) > MOST_PATCHES:
        fine = fine[torch.randperm(len(fine), generator=generator)[:MOST_PATCHES]]
    fine = (fine - centre) / scale
    return {"centre": centre, "scale": scale, "bank": fine[coreset(fine, size, PROJECTION, generator, told)]}

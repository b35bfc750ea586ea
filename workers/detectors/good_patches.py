"""A memory of good patches: how far each patch of an image is from the nearest good one, block by block.

Jeong et al., "WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation", CVPR 2023: its few-shot half, WinCLIP+,
on the patch tokens that AnomalyCLIP's tapped blocks give instead of windows. Letters in shapes as in anomalyclip.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from workers.detectors.anomalyclip import unit_length
from workers.detectors.coreset import coreset

MOST_REMEMBERED = 4000  # patches of a block; where good images hold more, those farthest apart
MOST_CONSIDERED = 60_000  # they are chosen among at most so many, drawn at random
PROJECTION = 32  # numbers a patch is reduced to while they are chosen


class GoodPatches:
    """For each tapped block the remembered patches, (M, E), of length 1."""

    def __init__(self, blocks: Sequence[Tensor]) -> None:
        self.blocks = list(blocks)

    @classmethod
    def remember(cls, images: Sequence[Sequence[Tensor]], seed: int) -> Self:
        """From good images, each with a (1, 1 + N, E) of every tapped block."""
        generator = torch.Generator().manual_seed(seed)
        blocks = (torch.cat([patches_of(tokens)[0] for tokens in block]) for block in zip(*images, strict=True))
        return cls([chosen(patches, generator) for patches in blocks])

    def distances(self, taps: Sequence[Tensor]) -> Tensor:
        """Half the cosine distance of each patch to the nearest good one, (B, N) in [0, 1]; the blocks' mean."""
        nearest = [patches_of(tokens) @ good.T for tokens, good in zip(taps, self.blocks, strict=True)]  # (B, N, M)
        return torch.stack([(1 - similarity.amax(dim=2)) / 2 for similarity in nearest]).mean(dim=0).clamp(0, 1)

    def to(self, device: torch.device) -> Self:
        return type(self)([block.to(device) for block in self.blocks])

    def state(self) -> dict[str, Tensor]:
        """The tensors by name, for the artefact."""
        return {f"memory.{place}": block for place, block in enumerate(self.blocks)}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> Self | None:
        """What `state` gave; None where nothing is remembered."""
        blocks = [tensors[f"memory.{place}"] for place in range(sum(name.startswith("memory.") for name in tensors))]
        return cls(blocks) if blocks else None


def patches_of(tokens: Tensor) -> Tensor:
    """(B, 1 + N, E) to (B, N, E) of length 1: the class token is no patch."""
    return unit_length(tokens[:, 1:])


def chosen(patches: Tensor, generator: torch.Generator) -> Tensor:
    if len(patches) > MOST_CONSIDERED:
        patches = patches[torch.randperm(len(patches), generator=generator)[:MOST_CONSIDERED]]
    if len(patches) > MOST_REMEMBERED:
        patches = patches[coreset(patches, MOST_REMEMBERED, PROJECTION, generator)]
    return patches

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
from workers.detectors.coreset import Start, coreset_from

MOST_REMEMBERED = 4000  # patches of a block; where good images hold more, those farthest apart
MOST_CONSIDERED = 60_000  # they are chosen among at most so many, drawn at random
PROJECTION = 32  # numbers a patch is reduced to while they are chosen


class GoodPatches:
    """For each tapped block the remembered patches, (M, E), of length 1."""

    def __init__(self, blocks: Sequence[Tensor]) -> None:
        self.blocks = list(blocks)

    @classmethod
    def remember(cls, images: Sequence[Sequence[Tensor]], seed: int) -> Self:
        """From good images, each with a (1, 1 + N, E) of every tapped block.

        Each image is asked for once, in order, and of its patches only those are kept that are chosen among: 120 MB a
        block for 512 numbers a patch, however many images there are.
        """
        generator = torch.Generator().manual_seed(seed)
        blocks: list[Considered] = []
        for place, image in enumerate(images):
            blocks = blocks or [Considered(tokens, len(images), generator) for tokens in image]
            for block, tokens in zip(blocks, image, strict=True):
                block.take(place, tokens)
        return cls([block.chosen() for block in blocks])

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


class Considered:
    """The patches of one block that are chosen among. Chance decides which before any is seen, block after block."""

    def __init__(self, tokens: Tensor, images: int, generator: torch.Generator) -> None:
        """tokens: (1, 1 + N, E) of any of the images."""
        self.each, width = tokens.shape[1] - 1, tokens.shape[2]
        count = images * self.each
        drawn = torch.randperm(count, generator=generator) if count > MOST_CONSIDERED else torch.arange(count)
        places = drawn[:MOST_CONSIDERED]
        self.image, self.patch = places // self.each, places % self.each
        all_remembered = len(places) <= MOST_REMEMBERED
        self.start = None if all_remembered else Start.drawn(len(places), width, PROJECTION, generator)
        self.patches = patches_of(tokens).new_empty((len(places), width), device="cpu")

    def take(self, image: int, tokens: Tensor) -> None:
        """Those of an image by its place."""
        (rows,) = torch.nonzero(self.image == image, as_tuple=True)
        self.patches[rows] = patches_of(tokens)[0].cpu()[self.patch[rows]]

    def chosen(self) -> Tensor:
        if self.start is None:
            return self.patches
        return self.patches[coreset_from(self.start, self.patches, MOST_REMEMBERED)]

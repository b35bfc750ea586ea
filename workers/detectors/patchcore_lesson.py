"""What a PatchCore learns from good frames' patches, and what it says of good frames that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.detectors.frame_scorer import Distances, FrameScorer, PatchDistances, learn_standards
from workers.detectors.patch_bank import learn_bank
from workers.detectors.patch_gaussian import learn_gaussian
from workers.detectors.patchcore import Eye, PatchCoreConfiguration
from workers.detectors.patches import Patches


class Lesson:
    """All good frames, by place; each is learned from or not, together with the others of its part."""

    def __init__(
        self,
        frames: Sequence[list[Patches]],
        groups: Sequence[str],
        eye: Eye,
        configuration: PatchCoreConfiguration,
        seed: int,
    ) -> None:
        self.frames, self.groups = frames, groups
        self.eye, self.configuration, self.seed = eye, configuration, seed

    def raw_scores(self, fold: Sequence[int]) -> list[float]:
        """Of the fold's frames, by what was learned from all other frames alone."""
        unknown = set(fold)
        tensors = self.learn([place for place in range(len(self.frames)) if place not in unknown])
        distances = PatchDistances(self.eye.tiles, tensors)
        scorer = FrameScorer(self.configuration.gaussian_weight, self.configuration.worst(self.eye.grid), tensors)
        return [scorer.judge(distances.of(self.frames[place])).raw for place in fold]

    def learn(self, places: Sequence[int]) -> dict[str, Tensor]:
        """The bank, the Gaussian, and which distances to them are usual for good parts.

        The usual is learned by halves, each from parts that the other half does not know: what was learned from is far
        closer than a part to come.
        """
        halves = halved(places, self.groups)
        usual: list[Distances] = []
        for known, unknown in (halves, halves[::-1]):
            distances = PatchDistances(self.eye.tiles, self.memorise(known, self.configuration.bank_size // 2))
            usual += [distances.of(self.frames[place]) for place in unknown]
        tensors = self.memorise(places, self.configuration.bank_size)
        distances = PatchDistances(self.eye.tiles, tensors)
        far = [distances.far(self.frames[place]) for place in places]
        return tensors | learn_standards(far, usual, self.configuration.worst(self.eye.grid))

    def memorise(self, places: Sequence[int], bank_size: int) -> dict[str, Tensor]:
        """The bank and the Gaussian."""
        tiles = [tile for place in places for tile in self.frames[place]]
        bank = learn_bank([tile.fine for tile in tiles], bank_size, torch.Generator().manual_seed(self.seed))
        return bank | learn_gaussian([tile.coarse for tile in tiles])


def halved(places: Sequence[int], groups: Sequence[str]) -> tuple[list[int], list[int]]:
    """Places of the images of every other part, and of the others."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups[place] for place in places))}
    first = [place for place in places if numbers[groups[place]] % 2 == 0]
    return first, [place for place in places if numbers[groups[place]] % 2 == 1]

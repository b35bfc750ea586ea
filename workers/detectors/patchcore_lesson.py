"""What a PatchCore learns from good frames' patches, and what it says of good frames that it did not learn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from workers.detectors.frame_scorer import Distances, FrameScorer, PatchDistances, learn_standards
from workers.detectors.held_out import Turn
from workers.detectors.patch_bank import learn_bank
from workers.detectors.patch_gaussian import learn_gaussian, moments_of
from workers.detectors.patchcore import Eye, PatchCoreConfiguration
from workers.detectors.patches import Patches
from workers.detectors.telling import Told


class Lesson:
    """All good frames, by place; those of one turn are learned from together or not at all.

    A Gaussian's moments are sums: each turn's are found once, for all that are learned.
    """

    def __init__(
        self,
        frames: Sequence[list[Patches]],
        turns: Sequence[Turn],
        eye: Eye,
        configuration: PatchCoreConfiguration,
        seed: int,
        told: Told,
    ) -> None:
        self.frames, self.turns, self.seed = frames, turns, seed
        self.eye, self.configuration, self.told = eye, configuration, told
        self.origin = frames[0][0].coarse.mean(0)
        self.moments = {turn: moments_of(self.coarse(turn), self.origin) for turn in sorted(set(turns))}

    def coarse(self, turn: Turn) -> Iterable[Tensor]:
        return (tile.coarse for place in self.places({turn}) for tile in self.frames[place])

    def places(self, wanted: set[Turn]) -> list[int]:
        return [place for place, turn in enumerate(self.turns) if turn in wanted]

    def raw_scores(self, fold: int) -> dict[int, float]:
        """Of the fold's frames, by place, from what was learned of all other frames alone."""
        tensors = self.learn(without=fold)
        distances = PatchDistances(self.eye.tiles, tensors)
        scorer = FrameScorer(self.configuration.gaussian_weight, self.configuration.worst(self.eye.grid), tensors)
        held_out = self.places({turn for turn in self.moments if turn.fold == fold})
        return {place: scorer.judge(distances.of(self.frames[place])).raw for place in held_out}

    def learn(self, without: int | None = None) -> dict[str, Tensor]:
        """The bank, the Gaussian, and which distances to them are usual for good parts.

        The usual is learned by halves, each from parts that the other half does not know: what was learned from is far
        closer than a part to come.
        """
        known = {turn for turn in self.moments if turn.fold != without}
        halves = [{turn for turn in known if turn.half == half} for half in (0, 1)]
        usual: list[Distances] = []
        for mine, others in (halves, halves[::-1]):
            distances = PatchDistances(self.eye.tiles, self.memorise(mine, self.configuration.bank_size // 2))
            usual += [distances.of(self.frames[place]) for place in self.places(others)]
        tensors = self.memorise(known, self.configuration.bank_size)
        distances = PatchDistances(self.eye.tiles, tensors)
        far = [distances.far(self.frames[place]) for place in self.places(known)]
        return tensors | learn_standards(far, usual, self.configuration.worst(self.eye.grid))

    def memorise(self, known: set[Turn], bank_size: int) -> dict[str, Tensor]:
        """The bank and the Gaussian."""
        fine = [tile.fine for place in self.places(known) for tile in self.frames[place]]
        bank = learn_bank(fine, bank_size, torch.Generator().manual_seed(self.seed), self.told)
        return bank | learn_gaussian([self.moments[turn] for turn in sorted(known)], self.origin)

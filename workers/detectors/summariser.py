"""Frames as rows of numbers: whitened by what was learned of them, each number of mean 0 and deviation 1.

A frame that is judged must be whitened without it, as parts to come are: else it looks more usual than they do. So a
summariser also knows what is usual in all frames but those of a fold of the parts. What is learned from is whitened by
all together: that teaches more (on magnetic tiles AUROC .916 instead of .909), and whitening is symmetric, so that a
direction is the same one in both.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.detectors.summary import Whitening, learn_whitening, moments_of, summary

FOLDS = 5
CHUNK = 32  # frames at once


class Summariser(NamedTuple):
    whitening: Whitening  # by all
    without: list[Whitening]  # by all but the parts of each fold
    centre: Tensor  # (numbers,)
    scale: Tensor  # (numbers,)

    def rows(self, looks: Tensor) -> Tensor:
        """(frames, cells, channels) to (frames, numbers), to learn from."""
        return self.standardised(summed_up(looks, self.whitening))

    def held_out(self, looks: Tensor, folds: NDArray[np.int64]) -> Tensor:
        """The same, to be judged: each whitened without the parts of its fold."""
        rows = torch.empty(len(looks), len(self.centre))
        for fold in np.unique(folds):
            own = torch.from_numpy(np.flatnonzero(folds == fold))
            rows[own] = self.standardised(summed_up(looks[own], self.without[fold]))
        return rows

    def standardised(self, rows: Tensor) -> Tensor:
        return rows.sub_(self.centre).div_(self.scale)


def learn_summariser(looks: Tensor, folds: NDArray[np.int64]) -> tuple[Summariser, Tensor]:
    """And the looks as rows to learn from; looks: (frames, cells, channels); folds: `fold_of` their parts."""
    moments = {int(fold): moments_of(looks[torch.from_numpy(folds == fold)]) for fold in np.unique(folds)}
    whitening = learn_whitening(list(moments.values()))
    others = ([found for own, found in moments.items() if own != fold] for fold in range(FOLDS))
    without = [learn_whitening(some or list(moments.values())) for some in others]  # all parts may be of one fold
    rows = summed_up(looks, whitening)
    summariser = Summariser(whitening, without, rows.mean(0), rows.std(0).clamp_min(1e-6))
    return summariser, summariser.standardised(rows)


def fold_of(part: str) -> int:
    """By its name, so that it is the same whenever and beside whichever others the part is seen."""
    return int.from_bytes(sha256(part.encode()).digest()[:4], "big") % FOLDS


def summed_up(looks: Tensor, whitening: Whitening) -> Tensor:
    """(frames, numbers)."""
    return torch.cat([summary(chunk, whitening) for chunk in torch.split(looks, CHUNK)])

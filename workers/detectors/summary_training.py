"""Training of the summary's machine: in seconds, from image labels alone.

Frames that are held out are whitened without them, as parts to come are. The others stay as all frames together whiten
them: whitening is symmetric, so that a direction is the same one in both, and they need to be summed up only once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from workers.detectors.summary import Whitening, learn_whitening, moments_of, summary
from workers.detectors.summary_machine import SummaryMachine, kernel
from workers.detectors.telling import Told

PENALTY = 3.0
CHUNK = 64  # frames at once

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]


class Taught(NamedTuple):
    machine: SummaryMachine
    margins: Floats  # (frames,), each by a machine that never learned from the frame; of fold -1 by one that did


def teach(looks: Tensor, is_anomaly: Truth, folds: NDArray[np.int64], told: Told | None = None) -> Taught:
    """looks: (looks * frames, cells, channels), the frames as they are first, then in other looks; of those is learned
    as well, but only the first are judged."""
    count, times = len(folds), len(looks) // len(folds)
    truth, fold_of = np.tile(is_anomaly, times), np.tile(folds, times)
    moments = {int(one): moments_of(looks[torch.from_numpy(fold_of == one)]) for one in np.unique(folds)}
    whitening = learn_whitening(list(moments.values()))
    rows = summed_up(looks, whitening)
    centre, scale = rows.mean(0), rows.std(0).clamp_min(1e-6)
    rows = rows.sub_(centre).div_(scale)
    alike = kernel(rows, rows).numpy()
    final = Vectors.learn(alike, truth, np.arange(len(truth)))
    margins = final.margins(alike[:count])
    judged = [one for one in moments if one >= 0]
    for number, one in enumerate(judged, start=1):
        machine = Vectors.learn(alike, truth, np.flatnonzero(fold_of != one))
        others = learn_whitening([found for fold, found in moments.items() if fold != one])
        own = np.flatnonzero(folds == one)
        held_out = (summed_up(looks[torch.from_numpy(own)], others) - centre) / scale
        margins[own] = machine.margins(kernel(held_out, rows).numpy())
        if told is not None:
            told(number / len(judged))
    return Taught(final.as_machine(rows, whitening, centre, scale), margins)


class Vectors(NamedTuple):
    """Support vectors, by their place among all rows."""

    places: NDArray[np.int64]
    weights: Floats
    offset: float

    @classmethod
    def learn(cls, alike: NDArray[np.float32], truth: Truth, places: NDArray[np.int64]) -> Vectors:
        """alike: the kernel of all rows; places: of those to learn from."""
        known = alike[np.ix_(places, places)].astype(np.float64)
        machine = SVC(C=PENALTY, kernel="precomputed").fit(known, truth[places])
        return cls(places[machine.support_], machine.dual_coef_[0], float(machine.intercept_[0]))

    def margins(self, alike: NDArray[np.float32]) -> Floats:
        """alike: (frames, rows), the kernel of some frames and all rows."""
        return np.asarray(alike[:, self.places].astype(np.float64) @ self.weights + self.offset)

    def as_machine(self, rows: Tensor, whitening: Whitening, centre: Tensor, scale: Tensor) -> SummaryMachine:
        return SummaryMachine(
            {
                "mean": whitening.mean,
                "matrix": whitening.matrix,
                "centre": centre,
                "scale": scale,
                "vectors": rows[torch.from_numpy(self.places)].contiguous(),
                "weights": torch.from_numpy(self.weights).float(),
                "offset": torch.tensor(self.offset),
            }
        )


def summed_up(looks: Tensor, whitening: Whitening) -> Tensor:
    """(frames, numbers)."""
    return torch.cat([summary(chunk, whitening) for chunk in torch.split(looks, CHUNK)])

"""Training of the summary's machine: in seconds, from image labels alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from workers.detectors.summariser import Summariser
from workers.detectors.summary_machine import SummaryMachine, kernel
from workers.detectors.telling import Told

PENALTY = 3.0
BLOCK = 500  # rows at once

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]


class Taught(NamedTuple):
    vectors: Vectors
    margins: Floats  # (frames,), each by a machine that never learned from the frame; of fold -1 by one that did


def teach(
    rows: Tensor, held_out: Tensor, is_anomaly: Truth, folds: NDArray[np.int64], told: Told | None = None
) -> Taught:
    """rows: (looks * frames, numbers), the frames as they are first, then in other looks: all are learned from.
    held_out: (frames, numbers), by which those of a fold are judged."""
    count, times = len(folds), len(rows) // len(folds)
    truth, fold_of = np.tile(is_anomaly, times), np.tile(folds, times)
    alike = among(rows)
    final = Vectors.learn(alike, truth, np.arange(len(truth)))
    margins = final.margins(alike[:count, final.places])
    judged = [one for one in np.unique(folds) if one >= 0]
    for number, one in enumerate(judged, start=1):
        own, machine = np.flatnonzero(folds == one), Vectors.learn(alike, truth, np.flatnonzero(fold_of != one))
        coming = kernel(held_out[torch.from_numpy(own)], rows[torch.from_numpy(machine.places)])
        margins[own] = machine.margins(coming.double().numpy())
        if told is not None:
            told(number / len(judged))
    return Taught(final, margins)


class Vectors(NamedTuple):
    """Support vectors, by their place among all rows."""

    places: NDArray[np.int64]
    weights: Floats
    offset: float

    @classmethod
    def learn(cls, alike: Floats, truth: Truth, places: NDArray[np.int64]) -> Vectors:
        """alike: the kernel of all rows; places: of those to learn from."""
        known = alike if len(places) == len(alike) else alike[np.ix_(places, places)]
        machine = SVC(C=PENALTY, kernel="precomputed").fit(known, truth[places])
        return cls(places[machine.support_], machine.dual_coef_[0], float(machine.intercept_[0]))

    def margins(self, alike: Floats) -> Floats:
        """alike: (frames, vectors), the kernel of some frames and these rows."""
        return np.asarray(alike @ self.weights + self.offset)

    def as_machine(self, rows: Tensor, summariser: Summariser) -> SummaryMachine:
        return SummaryMachine(
            {
                "mean": summariser.whitening.mean,
                "matrix": summariser.whitening.matrix,
                "centre": summariser.centre,
                "scale": summariser.scale,
                "vectors": rows[torch.from_numpy(self.places)].contiguous(),
                "weights": torch.from_numpy(self.weights).float(),
                "offset": torch.tensor(self.offset),
            }
        )


def among(rows: Tensor) -> Floats:
    """The kernel of all rows with one another; it is symmetric, and so only half of it need be computed."""
    alike = np.empty((len(rows), len(rows)))
    for start in range(0, len(rows), BLOCK):
        here, beyond = slice(start, start + BLOCK), slice(start + BLOCK, None)
        alike[here, start:] = kernel(rows[here], rows[start:]).numpy()
        alike[beyond, here] = alike[here, beyond].T
    return alike

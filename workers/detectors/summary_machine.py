"""A support vector machine on the summary of a frame: learned in a second or two, from image labels alone.

Cortes, Vapnik, "Support-Vector Networks", Machine Learning 20 (1995).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from storage.errors import ModelError
from workers.detectors.summary import Moments, Whitening, learn_whitening, moments_of, summary
from workers.detectors.telling import Told

PENALTY = 3.0
NARROWNESS = 0.5  # of the Gaussian kernel, on distances in standard deviations averaged over the numbers of a summary
NAMES = ("mean", "matrix", "centre", "scale", "vectors", "weights", "offset")
CHUNK = 64  # frames at once

Floats = NDArray[np.float64]


class SummaryMachine:
    """The margin of a frame: above 0 is defective."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        missing = [name for name in NAMES if name not in tensors]
        if missing:
            raise ModelError(f"the summary's machine has no {', '.join(missing)}")
        self.tensors = {name: tensors[name] for name in NAMES}
        self.whitening = Whitening(tensors["mean"], tensors["matrix"])

    def margins(self, cells: Tensor) -> Tensor:
        """(frames, cells, channels) to (frames,)."""
        own = self.tensors
        rows = (summary(cells, self.whitening) - own["centre"]) / own["scale"]
        return kernel(rows, own["vectors"]) @ own["weights"] + own["offset"]

    def to(self, device: torch.device) -> Self:
        return type(self)({name: tensor.to(device) for name, tensor in self.tensors.items()})


def kernel(rows: Tensor, vectors: Tensor) -> Tensor:
    """(rows, n) and (vectors, n) to (rows, vectors)."""
    squares = rows.square().mean(1)[:, None] + vectors.square().mean(1) - 2 * rows @ vectors.T / rows.shape[1]
    return (-NARROWNESS * squares.clamp_min(0)).exp()


def learn_machine(cells: Tensor, is_anomaly: NDArray[np.bool_], moments: list[Moments]) -> SummaryMachine:
    """cells: (frames, cells, channels); moments: of the very same frames."""
    whitening = learn_whitening(moments)
    rows = torch.cat([summary(chunk, whitening) for chunk in torch.split(cells, CHUNK)])
    centre, scale = rows.mean(0), rows.std(0).clamp_min(1e-6)
    rows = (rows - centre) / scale
    machine = SVC(C=PENALTY, kernel="precomputed").fit(kernel(rows, rows).double().numpy(), is_anomaly)
    return SummaryMachine(
        {
            "mean": whitening.mean,
            "matrix": whitening.matrix,
            "centre": centre,
            "scale": scale,
            "vectors": rows[torch.from_numpy(machine.support_.astype(np.int64))].contiguous(),
            "weights": torch.from_numpy(machine.dual_coef_[0]).float(),
            "offset": torch.tensor(float(machine.intercept_[0])),
        }
    )


def out_of_fold(
    cells: Tensor, is_anomaly: NDArray[np.bool_], folds: NDArray[np.int64], told: Told | None = None
) -> Floats:
    """The margin of each frame by a machine that never saw it; of frames of fold -1, which all learn from, the mean."""
    numbers = [int(one) for one in np.unique(folds)]
    moments = {one: moments_of(cells[torch.from_numpy(folds == one)]) for one in numbers}
    judged = [one for one in numbers if one >= 0]
    margins = np.zeros(len(folds))
    for one in judged:
        kept = torch.from_numpy(folds != one)
        machine = learn_machine(cells[kept], is_anomaly[kept.numpy()], [moments[n] for n in numbers if n != one])
        found = machine.margins(cells).double().numpy()
        if told is not None:
            told((judged.index(one) + 1) / len(judged))
        margins += np.where(folds == one, found, np.where(folds < 0, found / len(judged), 0))
    return margins

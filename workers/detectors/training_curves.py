"""The curves of a training as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from workers.detectors.training_checkpoint import EpochRecord


def draw(history: Sequence[EpochRecord], file: Path) -> None:
    """Write losses and, where parts were held out, their AUROC over the epochs as PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    losses = figure.subplots()
    epochs = [record.epoch for record in history]
    for name in ("total", "anomaly", "classification", "contrastive"):
        losses.plot(epochs, [getattr(record, name) for record in history], label=name, marker=".")
    losses.set_xlabel("epoch")
    losses.set_ylabel("loss")
    losses.legend(loc="upper left")
    judged = [(record.epoch, record.held_out_auroc) for record in history if record.held_out_auroc is not None]
    if judged:
        right = losses.twinx()
        right.plot(*zip(*judged, strict=True), color="black", linestyle="--", label="held-out AUROC")
        right.set_ylabel("image AUROC")
        right.set_ylim(0, 1.02)
        right.legend(loc="upper right")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png", dpi=110)

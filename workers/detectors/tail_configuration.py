"""What decides when and how the backbone's last stages are fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass

from storage.errors import SettingsError


@dataclass(frozen=True)
class TailConfiguration:
    """The defaults were found on solar cells."""

    least_labels: int = 100
    """Images of the rarer kind it takes; 0: never."""
    folds: int = 3
    """Of the labelled parts: each is held out of one tail's training, whose word on it is believed."""
    dropout: float = 0.3
    epochs: int = 8
    enough_steps: int = 110
    """Many images are gone through less often, so that a training ends in two minutes;"""
    least_epochs: int = 3
    """but not less often than that."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        problems = [
            f"tail.{name}: given {getattr(self, name)}, allowed {low:g} to {high:g}"
            for name, (low, high) in BOUNDS.items()
            if not low <= getattr(self, name) <= high
        ]
        if problems:
            raise SettingsError(problems)

    def steps(self, batches: int) -> int:
        """Of one tail whose images make so many batches."""
        return max(min(self.epochs * batches, self.enough_steps), min(self.epochs, self.least_epochs) * batches)

    def wanted(self, good: int, defective: int) -> bool:
        """Whether so many images are enough."""
        return 0 < self.least_labels <= min(good, defective)


BOUNDS = {
    "least_labels": (0, 1_000_000),
    "folds": (2, 20),
    "dropout": (0, 0.9),
    "epochs": (1, 1000),
    "enough_steps": (1, 1_000_000),
    "least_epochs": (1, 1000),
    "batch_size": (1, 1024),
    "learning_rate": (1e-6, 1),
    "weight_decay": (0, 1),
}

"""What decides how a supervised head is trained."""

from __future__ import annotations

from dataclasses import dataclass

from storage.errors import SettingsError
from workers.detectors.frame_features import Look


@dataclass(frozen=True)
class HeadConfiguration:
    """The defaults did as well as any tried on magnetic tiles, in 5 folds by block."""

    image_size: int = 256
    local_contrast: bool = True
    """As the one-class detector looks: then the backbone runs once for both."""
    folds: int = 5
    """Of the labelled parts: each is held out of one member's training in each round, whose word on it is believed."""
    members: int = 5
    """Heads, whose mean is what the detector says: one for each fold, in as many rounds of other folds as there are
    members for; those beyond learn from all parts."""
    width: int = 8
    worst_share: float = 0.05
    """Of the patches: their mean is the image's logit."""
    dropout: float = 0.2
    epochs: int = 4
    least_steps: int = 300
    """Few images are gone through more often."""
    batch_size: int = 32
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    mask_weight: float = 1.0
    """Of the patches' losses, against those of the image."""

    @property
    def look(self) -> Look:
        return Look(self.image_size, self.local_contrast)

    @property
    def rounds(self) -> int:
        return self.members // self.folds

    def __post_init__(self) -> None:
        problems = [
            f"head.{name}: given {getattr(self, name)}, allowed {low:g} to {high:g}"
            for name, (low, high) in BOUNDS.items()
            if not low <= getattr(self, name) <= high
        ]
        if self.members < self.folds:
            problems.append(f"head.members: given {self.members}, allowed at least head.folds, {self.folds}")
        if problems:
            raise SettingsError(problems)


BOUNDS = {
    "image_size": (64, 1024),
    "folds": (2, 20),
    "members": (2, 40),
    "width": (2, 256),
    "worst_share": (0, 1),
    "dropout": (0, 0.9),
    "epochs": (1, 1000),
    "least_steps": (1, 100_000),
    "batch_size": (1, 1024),
    "learning_rate": (1e-6, 1),
    "weight_decay": (0, 1),
    "mask_weight": (0, 100),
}

"""What an inference worker is told of a recipe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecipePlan:
    """What inference needs to know of a recipe."""

    image_size: int
    sample_rate: float
    ng_sample_rate: float = 0.0

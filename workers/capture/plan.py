"""What a capture worker is told of its station."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StationPlan:
    """What capture needs to know of its station."""

    name: str
    recipe: str
    recipe_id: int
    image_size: int
    timeout_seconds: float
    trigger_maximum_age_seconds: float
    back_pressure: str
    maximum_in_flight: int
    image_format: Literal["jpeg", "png"]
    jpeg_quality: int
    maximum_megapixels: float

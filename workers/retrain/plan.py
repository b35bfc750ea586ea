"""What the retrain worker and its trainer are told, as plain values that also travel as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from workers.retrain.schedule import Schedule


@dataclass(frozen=True)
class TrainerPlan:
    """Where things are, what the recipes are, and how much of the machine a run may have."""

    database_url: str
    home: Path
    recipes: Mapping[str, Mapping[str, Any]]
    """Each as its settings say."""
    maximum_megapixels: float
    minimum_free_bytes: int
    threads: int = 1
    idle_only: bool = True
    device: str = "auto"
    maximum_attempts: int = 3
    feature_bytes: int = 4 << 30
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def training(self) -> Path:
        return self.home / "training"

    @property
    def features(self) -> Path:
        return self.home / "features"

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> TrainerPlan:
        given = json.loads(text)
        return cls(**{**given, "home": Path(given["home"])})

    def schedules(self) -> dict[str, Schedule]:
        wanted = {field.name for field in fields(Schedule)}
        return {
            name: Schedule(**{key: value for key, value in recipe["retrain"].items() if key in wanted})
            for name, recipe in self.recipes.items()
        }

"""A tiny CLIP and prompts learned on it, in a models folder as if they had been imported."""

from __future__ import annotations

from pathlib import Path

from tests.unit import tiny_clip
from tests.unit.tiny_clip import Shape
from workers.detectors import prompts, weights
from workers.detectors.anomalyclip import AnomalyCLIPConfig, describe_prompts
from workers.detectors.weight_folder import WeightKind

CLIP, PROMPTS = "ViT-tiny:random", "tiny-prompts"
TINY = Shape()
CHOICES = {"activation": "quick_gelu", "vision_head_width": 64, "text_head_width": 64}


def store_clip(models: Path, seed: int = 0) -> None:
    clip = tiny_clip.weights(seed=seed)
    weights.store(WeightKind.CLIP, CLIP, clip, CHOICES, origin(models), models)


def store_prompts(models: Path, shape: Shape = TINY, seed: int = 0) -> None:
    """Prompts that belong to the CLIP of this shape and seed."""
    clip = tiny_clip.weights(shape, seed)
    learned = prompts.initialise(AnomalyCLIPConfig.for_clip(clip), clip, seed=3)
    weights.store(WeightKind.PROMPTS, PROMPTS, learned, describe_prompts(learned), origin(models), models)


def origin(models: Path) -> Path:
    """What the weights are said to have been imported from."""
    models.mkdir(parents=True, exist_ok=True)
    file = models / "downloaded"
    file.write_bytes(b"")
    return file

"""The weights that recipes name: is each in the models folder? Asked before anything is started."""

from __future__ import annotations

from pathlib import Path

from orchestrator.recipe import Recipe
from orchestrator.settings import Settings
from storage.errors import ModelError
from workers.detectors.weight_folder import LITE, StoredWeights, find_clip, find_prompts


def named_weights(recipe: Recipe, models: Path) -> list[StoredWeights]:
    """What the recipe's first model will stand on; WeightsMissing says what is not there and which command gets it."""
    if recipe.detector == "patchcore":
        return [] if recipe.backbone == LITE else [find_clip(recipe.backbone, models)]
    assert recipe.clip and recipe.prompts, "the settings agree"
    return [find_clip(recipe.clip, models), find_prompts(recipe.prompts, models)]


def missing_weights(settings: Settings, recipes: list[str], models: Path) -> dict[str, ModelError]:
    """By recipe, what keeps its first model from being made."""
    missing = {}
    for name in recipes:
        try:
            named_weights(settings.recipes[name], models)
        except ModelError as error:
            missing[name] = error
    return missing

"""Where two settings must agree: each disagreement names its dotted path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import PydanticCustomError

from orchestrator.recipe import SIDE_MULTIPLE, Recipe
from orchestrator.section import KeyPath
from orchestrator.station import FolderCamera, Station
from workers.detectors.weight_folder import LITE

if TYPE_CHECKING:
    from orchestrator.settings import Settings


class Disagreement(NamedTuple):
    """A value that is fine alone and wrong beside others; `others` are the paths it was held against."""

    path: KeyPath
    given: object
    allowed: str
    others: tuple[KeyPath, ...] = ()


def check_agreement(settings: Settings) -> None:
    """Raise all disagreements in one pydantic error, so that the reader sees them together."""
    found = list(disagreements(settings))
    if found:
        raise PydanticCustomError("disagreement", "settings disagree", {"disagreements": found})


def disagreements(settings: Settings) -> Iterator[Disagreement]:
    yield from patience(settings)
    yield from devices(settings)
    yield from repeated(("stations",), [station.name for station in settings.stations])
    for name, recipe in settings.recipes.items():
        yield from detector_needs(("recipes", name), recipe)
    for number, station in enumerate(settings.stations):
        yield from known_recipe(settings, number, station)
        yield from cameras(settings, number, station)


def patience(settings: Settings) -> Iterator[Disagreement]:
    """A part must be redelivered before it is given up."""
    reclaim, give_up = settings.record.reclaim_idle_seconds, settings.record.give_up_seconds
    if give_up <= reclaim:
        yield Disagreement(
            ("record", "give_up_seconds"),
            give_up,
            f"longer than record.reclaim_idle_seconds, which is {reclaim:g}",
            (("record", "reclaim_idle_seconds"),),
        )


def devices(settings: Settings) -> Iterator[Disagreement]:
    # Ray hides all GPUs from an actor that asked for none: the worker would fail at its first batch.
    if settings.inference.device.startswith("cuda") and not settings.stages.inference.num_gpus:
        yield Disagreement(
            ("inference", "device"),
            settings.inference.device,
            'with stages.inference.num_gpus at 0: "auto" or "cpu"; or grant each worker a GPU',
            (("stages", "inference", "num_gpus"),),
        )


def detector_needs(path: KeyPath, recipe: Recipe) -> Iterator[Disagreement]:
    """What one detector needs, and the other does not know."""
    detector = ((*path, "detector"),)
    if recipe.detector == "patchcore":
        if recipe.backbone == LITE and recipe.image_size % SIDE_MULTIPLE:
            allowed = f"a multiple of {SIDE_MULTIPLE} for patchcore on {LITE}"
            yield Disagreement((*path, "image_size"), recipe.image_size, allowed, (*detector, (*path, "backbone")))
        if recipe.backbone == LITE and recipe.features_list:
            allowed = f"not set for patchcore on {LITE}, which has no blocks to choose from"
            yield Disagreement(
                (*path, "features_list"), list(recipe.features_list), allowed, (*detector, (*path, "backbone"))
            )
        return
    if recipe.backbone != LITE:
        allowed = f'"{LITE}" (patchcore alone has a choice; anomalyclip\'s is clip)'
        yield Disagreement((*path, "backbone"), recipe.backbone, allowed, detector)
    if recipe.tiles != "1x1":
        yield Disagreement((*path, "tiles"), recipe.tiles, '"1x1" for anomalyclip', detector)
    for name in ("clip", "prompts"):
        if getattr(recipe, name) is None:
            yield Disagreement(
                (*path, name), None, "the name of weights in the models folder, for anomalyclip", detector
            )


def repeated(path: KeyPath, names: list[str]) -> Iterator[Disagreement]:
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        if seen[name]:
            yield Disagreement(
                (*path, number, "name"),
                name,
                f"a name that no other has: {'.'.join(map(str, path))}.{names.index(name)} is called so",
                ((*path, names.index(name), "name"),),
            )
        seen[name] += 1


def known_recipe(settings: Settings, number: int, station: Station) -> Iterator[Disagreement]:
    if station.recipe not in settings.recipes:
        names = ", ".join(f'"{name}"' for name in settings.recipes)
        allowed = f"one of the recipes: {names}" if names else "the name of a recipe, and there are no recipes"
        yield Disagreement(("stations", number, "recipe"), station.recipe, allowed, (("recipes", station.recipe),))


def cameras(settings: Settings, number: int, station: Station) -> Iterator[Disagreement]:
    path: KeyPath = ("stations", number, "cameras")
    yield from repeated(path, [camera.name for camera in station.cameras])
    folders = [camera for camera in station.cameras if isinstance(camera, FolderCamera)]
    if station.trigger.kind == "file" and not any(camera.watch for camera in folders):
        allowed = '"file" only with a camera of kind "folder" that has watch = true'
        watches = tuple((*path, index, "watch") for index in range(len(station.cameras)))
        yield Disagreement(("stations", number, "trigger", "kind"), "file", allowed, watches)
    reclaim = settings.record.reclaim_idle_seconds
    for index, camera in enumerate(station.cameras):
        if isinstance(camera, FolderCamera) and camera.watch and camera.loop:
            others: tuple[KeyPath, ...] = ((*path, index, "watch"),)
            yield Disagreement((*path, index, "loop"), True, "false with watch = true", others)
        if camera.timeout_seconds >= reclaim:
            # The trigger would go to another worker while this one still waits: two captures of one part.
            yield Disagreement(
                (*path, index, "timeout_seconds"),
                camera.timeout_seconds,
                f"shorter than record.reclaim_idle_seconds, which is {reclaim:g}",
                (("record", "reclaim_idle_seconds"),),
            )

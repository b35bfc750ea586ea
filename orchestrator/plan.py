"""From settings to tasks: what each worker is given, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.folders import pages_socket
from orchestrator.pipeline import STAGES, TEACHER, Stage
from orchestrator.recipe import Recipe
from orchestrator.settings import Settings, StageResources
from orchestrator.station import Station
from orchestrator.supervisor import Task
from workers.capture.build import build_cameras, build_triggers
from workers.capture.plan import StationPlan
from workers.consumer import Delivery
from workers.drift.diagnosis import Limits
from workers.inference.plan import RecipePlan
from workers.retrain.plan import TrainerPlan


@dataclass(frozen=True)
class Place:
    """Where a run keeps things, and which run it is."""

    home: Path
    stream_url: str
    database_url: str
    run_id: UUID
    recipe_ids: Mapping[str, int]
    taught_from: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of each recipe, the images that its models were taught from: SHA-256s, or names of files."""
    parts: int = 0
    """Stop triggering after so many parts; 0 is never."""

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def logs(self) -> Path:
        return self.home / "logs"


def tasks(settings: Settings, place: Place) -> list[Task]:
    """Every worker of the line, stage by stage."""
    return [task for stage in STAGES for task in PLANNERS[stage.name](stage, settings, place)]


def task(
    stage: Stage, name: str, reserved: StageResources, arguments: Mapping[str, Any], resources: Mapping[str, float]
) -> Task:
    return Task(
        stage=stage.name,
        name=name,
        worker=stage.worker,
        arguments=arguments,
        hot=stage.hot,
        num_cpus=reserved.num_cpus,
        num_gpus=reserved.num_gpus,
        resources={**reserved.resources, **resources},
    )


def capture_tasks(stage: Stage, settings: Settings, place: Place) -> list[Task]:
    return [
        task(
            stage,
            f"capture-{station.name}",
            settings.stages.capture,
            capture_arguments(settings, place, station),
            station.resources,
        )
        for station in settings.stations
    ]


def capture_arguments(settings: Settings, place: Place, station: Station) -> dict[str, Any]:
    cameras = [camera.model_dump() for camera in station.cameras]
    hidden = place.taught_from.get(station.recipe, frozenset())
    triggers = partial(
        build_triggers,
        station=station.name,
        run_id=place.run_id,
        limit=place.parts,
        product=station.product,
        trigger=station.trigger.model_dump(),
        cameras=cameras,
    )
    return {
        "stream_url": place.stream_url,
        "images": place.images,
        "minimum_free_bytes": settings.images.minimum_free_megabytes << 20,
        "plan": station_plan(settings, place, station),
        "cameras": partial(
            build_cameras, cameras, taught(settings.recipes[station.recipe]), hidden, settings.images.maximum_megapixels
        ),
        "triggers": triggers,
        "delivery": delivery(settings, "capture", f"capture-{station.name}", 1),
    }


def station_plan(settings: Settings, place: Place, station: Station) -> StationPlan:
    return StationPlan(
        name=station.name,
        recipe=station.recipe,
        recipe_id=place.recipe_ids[station.recipe],
        image_size=settings.recipes[station.recipe].minimum_side,
        timeout_seconds=max(camera.timeout_seconds for camera in station.cameras),
        trigger_maximum_age_seconds=settings.capture.trigger_maximum_age_seconds,
        back_pressure=settings.capture.back_pressure,
        maximum_in_flight=settings.capture.maximum_in_flight,
        image_format=settings.images.format,
        jpeg_quality=settings.images.jpeg_quality,
        maximum_megapixels=settings.images.maximum_megapixels,
    )


def inference_tasks(stage: Stage, settings: Settings, place: Place) -> list[Task]:
    return [
        task(
            stage,
            f"inference-{number}",
            settings.stages.inference,
            inference_arguments(settings, place, f"inference-{number}"),
            {},
        )
        for number in range(settings.inference.replicas)
    ]


def inference_arguments(settings: Settings, place: Place, name: str) -> dict[str, Any]:
    inference = settings.inference
    return {
        "stream_url": place.stream_url,
        "database_url": place.database_url,
        "images": place.images,
        "models": place.models,
        "minimum_free_bytes": settings.images.minimum_free_megabytes << 20,
        "maximum_megapixels": settings.images.maximum_megapixels,
        "minimum_side_pixels": settings.images.minimum_side_pixels,
        "recipes": {recipe: recipe_plan(settings.recipes[recipe]) for recipe in settings.used_recipes},
        "delivery": delivery(
            settings, "inference", name, inference.batch_size, inference.batch_deadline_milliseconds / 1000
        ),
        "device": inference.device,
        "threads": inference.threads,
    }


def recipe_plan(recipe: Recipe) -> RecipePlan:
    return RecipePlan(recipe.minimum_side, recipe.sample_rate, recipe.ng_sample_rate)


def record_tasks(stage: Stage, settings: Settings, place: Place) -> list[Task]:
    record = settings.record
    arguments = {
        "stream_url": place.stream_url,
        "database_url": place.database_url,
        "images": place.images,
        "minimum_free_bytes": settings.images.minimum_free_megabytes << 20,
        "delivery": delivery(settings, "record", "record", record.batch_size),
        "sweep_seconds": record.sweep_seconds,
        "give_up_seconds": record.give_up_seconds,
        "ageing_seconds": 60 * settings.labeling.ageing_minutes,
    }
    return [task(stage, "record", settings.stages.record, arguments, {})]


def pages_tasks(stage: Stage, settings: Settings, place: Place) -> list[Task]:
    arguments = {
        "socket_path": pages_socket(place.home),
        "database_url": place.database_url,
        "line": settings.line.name,
    }
    return [Task(stage=stage.name, name="pages", worker=stage.worker, arguments=arguments, here=True)]


def retrain_tasks(stage: Stage, settings: Settings, place: Place) -> list[Task]:
    """Beside the state folder: images, models, features and checkpoints are there."""
    arguments = {"plan": trainer_plan(settings, place.database_url, place.home), "log": place.logs / "trainer.log"}
    reserved = settings.stages.retrain
    return [replace(task(stage, "retrain", reserved, arguments, {}), here=True)]


def trainer_plan(settings: Settings, database_url: str, home: Path) -> TrainerPlan:
    """What a training run is told, by the line or by a command beside it."""
    training = settings.training
    return TrainerPlan(
        database_url=database_url,
        home=home,
        recipes={name: settings.recipes[name].model_dump(mode="json") for name in settings.used_recipes},
        maximum_megapixels=settings.images.maximum_megapixels,
        minimum_free_bytes=settings.images.minimum_free_megabytes << 20,
        threads=training.threads,
        idle_only=training.idle_only,
        device=training.device,
        maximum_attempts=training.maximum_attempts,
        feature_bytes=training.feature_megabytes << 20,
    )


def drift_tasks(stage: Stage, settings: Settings, place: Place) -> list[Task]:
    drift = settings.drift
    if not drift.enabled:
        return []
    limits = drift.model_dump(include={"brightness", "sharpness", "position", "deviations", "psi", "chance"})
    arguments = {
        "database_url": place.database_url,
        "images": place.images,
        "interval_seconds": drift.interval_seconds,
        "frames": drift.frames,
        "window": drift.window,
        "limits": Limits(**limits),
        "maximum_megapixels": settings.images.maximum_megapixels,
    }
    return [Task(stage=stage.name, name="drift", worker=stage.worker, arguments=arguments, here=True)]


PLANNERS = {
    "capture": capture_tasks,
    "inference": inference_tasks,
    "record": record_tasks,
    "pages": pages_tasks,
    "retrain": retrain_tasks,
    "drift": drift_tasks,
}


def teach_task(settings: Settings, place: Place, recipes: list[str]) -> Task:
    """The worker that teaches the first model of each of these recipes."""
    arguments = {
        "database_url": place.database_url,
        "models": place.models,
        "recipes": {name: settings.recipes[name].model_dump() for name in recipes},
        "maximum_megapixels": settings.images.maximum_megapixels,
    }
    return Task(stage=TEACHER.name, name="teach", worker=TEACHER.worker, arguments=arguments)


def taught(recipe: Recipe) -> Mapping[str, Any] | None:
    """What the recipe's first model was taught from: a dataset camera does not show it again."""
    return recipe.teach.model_dump() if recipe.teach else None


def delivery(settings: Settings, group: str, consumer: str, batch_size: int, deadline_seconds: float = 0.0) -> Delivery:
    record = settings.record
    return Delivery(
        group=group,
        consumer=consumer,
        batch_size=batch_size,
        batch_deadline_seconds=deadline_seconds,
        maximum_deliveries=record.maximum_deliveries,
        reclaim_idle_seconds=record.reclaim_idle_seconds,
    )

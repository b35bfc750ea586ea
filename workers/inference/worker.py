"""Scores what capture stored, decides the verdict, and keeps the model the deployments table asks for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from storage import records, thresholds
from storage.database import Database
from storage.errors import ImageSizeRefused, InspectionFailed, ModelError, ModelMissing, ScoreInvalid
from storage.events import (
    FrameCaptured,
    FrameFacts,
    InspectionDecided,
    PredictionFacts,
    Verdict,
    now,
)
from storage.images import ImageStore, decode
from storage.models import ModelVersion
from storage.stream import Entry, EventLog
from storage.thresholds import Thresholds
from workers.consumer import Consumer, Delivery, Status
from workers.detectors.calibration import comparable
from workers.detectors.detector import Detector, Image, Prediction
from workers.hot import HotFrames, hot_key
from workers.inference.heatmap import encode_map
from workers.inference.plan import RecipePlan
from workers.inference.verdict import Decision, decide

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # how often the deployments table is asked; a notification is only a hint

Load = Callable[[Path, str], Detector]
Deployed = tuple[ModelVersion, Thresholds]


@dataclass(frozen=True)
class Champion:
    """A loaded model, its row, and the thresholds it is judged by."""

    version: ModelVersion
    thresholds: Thresholds
    detector: Detector


class Champions:
    """The model of each recipe, changed between two batches when the deployments table says so."""

    def __init__(self, database: Database, models: Path, recipes: Sequence[str], load: Load) -> None:
        self.database, self.models, self.recipes, self.load = database, models, recipes, load
        self.loaded: dict[str, Champion] = {}
        self.look_at = 0.0

    def refresh(self) -> None:
        """Load what is newly deployed. ModelError when a recipe has no usable model."""
        if time.monotonic() < self.look_at:
            return
        with self.database.begin() as session:
            wanted = {recipe: deployed(session, recipe) for recipe in self.recipes}
        failures = [failure for recipe, found in wanted.items() if (failure := self.tried(recipe, found))]
        if self.complete:
            self.look_at = time.monotonic() + LOOK_SECONDS
        if failures:
            raise failures[0]

    @property
    def complete(self) -> bool:
        return set(self.loaded) == set(self.recipes)

    def tried(self, recipe: str, wanted: Deployed | None) -> ModelError | None:
        """Each recipe for itself: one that cannot be loaded keeps no other from its model."""
        try:
            self.use(recipe, wanted)
        except ModelError as error:
            return error
        return None

    def use(self, recipe: str, wanted: Deployed | None) -> None:
        if wanted is None:
            raise ModelMissing(f"recipe {recipe}: no model is deployed yet")
        version, limits = wanted
        current = self.loaded.get(recipe)
        if current is None or current.version.id != version.id:
            refuse_thresholds(version.id, limits)
            self.loaded[recipe] = Champion(version, limits, self.load(self.models / version.id, version.sha256))
            logger.info("recipe %s: model %s", recipe, version.id)
        elif current.thresholds != limits:
            refuse_thresholds(version.id, limits)
            self.loaded[recipe] = replace(current, thresholds=limits)
            logger.info("recipe %s: OK below %g, NG from %g", recipe, *limits)


def deployed(session: Session, recipe: str) -> Deployed | None:
    """The recipe's champion, and the thresholds that judge its scores."""
    version = records.deployed_model(session, recipe)
    return (version, thresholds.in_force(session, recipe, version)) if version else None


@dataclass
class Part:
    """One event on its way through a batch."""

    event: FrameCaptured
    champion: Champion | None = None
    images: Sequence[Image] = ()
    failure: str | None = None
    predictions: Sequence[Prediction | InspectionFailed] = ()


class InferenceWorker:
    """One model per recipe on one device, single-threaded; micro-batches what is there."""

    def __init__(
        self,
        *,
        stream_url: str,
        database_url: str,
        images: Path,
        models: Path,
        minimum_free_bytes: int,
        maximum_megapixels: float,
        minimum_side_pixels: int,
        recipes: dict[str, RecipePlan],
        delivery: Delivery,
        hot: HotFrames,
        device: str,
        threads: int,
    ) -> None:
        self.log, self.database = EventLog(stream_url), Database(database_url, pool_size=1)
        self.store = ImageStore(images, minimum_free_bytes)
        self.maximum_megapixels, self.minimum_side_pixels = maximum_megapixels, minimum_side_pixels
        self.recipes, self.hot = recipes, hot
        self.sources = {"memory": 0, "file": 0}
        self.device, self.threads, self.models = device, threads, models
        self.delivery, self.status = delivery, Status()
        self.refused = ""  # what was said last of a model that cannot be used

    def run(self, stop: threading.Event) -> None:
        self.status.set("loading", "importing the detector")
        from workers.detectors.registry import load, use_threads  # torch is heavy: only where it is used

        use_threads(self.threads)
        load_here = partial(load, device=self.device)
        self.work(Champions(self.database, self.models, list(self.recipes), load_here), stop)

    def work(self, champions: Champions, stop: threading.Event) -> None:
        """Score with these models until stopped."""
        self.champions = champions
        consumer = Consumer(self.log, [self.log.key(FrameCaptured)], self.delivery, self.handle, self.bury, self.status)
        consumer.run(stop, tick=self.refresh)

    def refresh(self) -> None:
        """A deployment that cannot be loaded leaves the model that is there at work, and says so."""
        try:
            self.champions.refresh()
        except ModelError as error:
            if not self.champions.complete:
                raise
            if str(error) != self.refused:
                logger.error("the deployed model cannot be used, the one before stays: %s", error)
            self.refused = str(error)
        self.status.facts["frames_from"] = dict(self.sources)
        self.status.facts["models"] = {name: model.version.id for name, model in self.champions.loaded.items()}

    def handle(self, entries: list[Entry]) -> None:
        """Score the batch and tell each part's verdict. A crash between any two steps repeats the batch."""
        taken = time.perf_counter()
        parts = [Part(event) for entry in entries if isinstance(event := entry.event, FrameCaptured)]
        waited = {id(part): milliseconds_since(part.event) for part in parts}
        self.fetch(parts)
        fetched = time.perf_counter()
        self.score(parts)
        scored = time.perf_counter()
        decided = [
            self.decided(
                part,
                {
                    "inference_queue": waited[id(part)],
                    "fetch": 1000 * (fetched - taken),
                    "score": 1000 * (scored - fetched),
                },
            )
            for part in parts
        ]
        self.log.publish_and_acknowledge(decided, entries, self.delivery.group)

    def fetch(self, parts: list[Part]) -> None:
        """The pixels that were stored: the hot copy where it still is, else the file."""
        hot = self.hot.take([self.key(part, frame) for part in parts for frame in part.event.frames])
        for part in parts:
            try:
                part.champion = self.champion(part.event.recipe)
                part.images = [self.pixels(part, frame, hot) for frame in part.event.frames]
            except InspectionFailed as error:
                part.failure = str(error)

    def champion(self, recipe: str) -> Champion:
        if recipe not in self.recipes:
            raise InspectionFailed(f"recipe {recipe} is not in the configuration (it has {', '.join(self.recipes)})")
        return self.champions.loaded[recipe]

    def key(self, part: Part, frame: FrameFacts) -> str:
        plan = self.recipes.get(part.event.recipe)
        return hot_key(part.event.trigger.inspection_id, frame.camera, plan.image_size if plan else 0)

    def pixels(self, part: Part, frame: FrameFacts, hot: dict[str, Image]) -> Image:
        if 0 < min(frame.width, frame.height) < self.minimum_side_pixels:
            raise ImageSizeRefused(
                f"camera {frame.camera}: the image is {frame.width}x{frame.height} pixels; "
                f"a side must have at least {self.minimum_side_pixels} (images.minimum_side_pixels)"
            )
        found = hot.get(self.key(part, frame))
        self.sources["memory" if found is not None else "file"] += 1
        if found is not None:
            return found
        size = self.recipes[part.event.recipe].image_size
        return decode(self.store.get(frame.sha256), minimum_side=size, maximum_megapixels=self.maximum_megapixels)

    def score(self, parts: list[Part]) -> None:
        """One forward pass for all frames of all parts of a recipe."""
        for champion in {id(part.champion): part.champion for part in parts if part.champion}.values():
            batch = [part for part in parts if part.champion is champion and part.failure is None]
            images = [image for part in batch for image in part.images]
            predictions = iter(map(checked, champion.detector.predict(images)) if images else ())
            for part in batch:
                part.predictions = [next(predictions) for _ in part.images]

    def decided(self, part: Part, stages: dict[str, float]) -> InspectionDecided:
        event = part.event
        failures = [str(answer) for answer in part.predictions if isinstance(answer, InspectionFailed)]
        facts: tuple[PredictionFacts, ...] = ()
        if part.failure or failures:
            decision = Decision(Verdict.ERROR, part.failure or "; ".join(failures))
        else:
            decision, facts = self.judge(part)
        return InspectionDecided(
            trigger=event.trigger,
            recipe=event.recipe,
            recipe_id=event.recipe_id,
            frames=event.frames,
            predictions=facts,
            verdict=decision.verdict,
            reason=decision.reason,
            review_reason=decision.review_reason,
            decided_at=now(),
            stage_milliseconds={**event.stage_milliseconds, **stages},
        )

    def judge(self, part: Part) -> tuple[Decision, tuple[PredictionFacts, ...]]:
        assert part.champion is not None
        rate = self.recipes[part.event.recipe].sample_rate
        scored = [
            (facts_of(frame, prediction, part.champion), prediction)
            for frame, prediction in zip(part.event.frames, part.predictions, strict=True)
            if isinstance(prediction, Prediction)
        ]
        decision = decide(part.event.trigger.inspection_id, [fact for fact, _ in scored], rate)
        if decision.verdict is Verdict.OK:
            return decision, tuple(fact for fact, _ in scored)
        return decision, tuple(fact.model_copy(update=self.kept(prediction)) for fact, prediction in scored)

    def kept(self, prediction: Prediction) -> dict[str, Any]:
        """Of what a person may look at: the anomaly map, and what the part looks like to the model."""
        anomaly_map = self.store.put(encode_map(prediction.anomaly_map), ".png").sha256
        return {"map_sha256": anomaly_map, "embedding": embedding_bytes(prediction)}

    def bury(self, entry: Entry, reason: str) -> list[InspectionDecided]:
        """What cannot be scored is recorded as ERROR, never OK."""
        event = entry.event
        if not isinstance(event, FrameCaptured):
            return []
        return [InspectionDecided.error(event, f"inference: {reason}")]


def facts_of(frame: FrameFacts, prediction: Prediction, champion: Champion) -> PredictionFacts:
    return PredictionFacts(
        camera=frame.camera,
        sha256=frame.sha256,
        model_version=champion.version.id,
        anomaly_score=prediction.anomaly_score,
        raw_score=prediction.raw_score,
        ok_threshold=champion.thresholds.ok,
        ng_threshold=champion.thresholds.ng,
        probabilities={**prediction.probabilities, **comparable(champion.detector.calibration, prediction.raw_score)},
    )


def embedding_bytes(prediction: Prediction) -> bytes | None:
    """float32, little endian; None where there is none, or no distance to it."""
    embedding = prediction.embedding
    if embedding is None or not np.isfinite(embedding).all() or not embedding.any():
        return None
    return embedding.astype("<f4").tobytes()


def checked(answer: Prediction | InspectionFailed) -> Prediction | InspectionFailed:
    """Whatever the detector: a part is judged by numbers only."""
    if isinstance(answer, InspectionFailed):
        return answer
    numbers = (answer.raw_score, *answer.probabilities.values())
    if 0.0 <= answer.anomaly_score <= 1.0 and all(map(isfinite, numbers)) and np.isfinite(answer.anomaly_map).all():
        return answer
    return ScoreInvalid(f"the detector answered {answer.anomaly_score} (raw {answer.raw_score}), or a map with gaps")


def refuse_thresholds(model_version: str, limits: Thresholds) -> None:
    if not 0.0 <= limits.ok <= limits.ng:
        words = f"OK below {limits.ok}, NG from {limits.ng}"
        raise ModelError(f"model {model_version}: {words}; the first must not be above the second")


def milliseconds_since(event: FrameCaptured) -> float:
    return 1000 * (now() - event.told_at).total_seconds()

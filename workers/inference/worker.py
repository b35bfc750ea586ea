"""Scores what capture stored, decides the verdict, and keeps the model the deployments table asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from storage.database import Database
from storage.deployments import Alias
from storage.errors import ImageSizeRefused, InspectionFailed
from storage.events import (
    FrameCaptured,
    FrameFacts,
    InspectionDecided,
    PredictionFacts,
    Verdict,
    now,
)
from storage.images import ImageStore, decode
from storage.stream import Entry, EventLog
from workers.consumer import Consumer, Delivery, Status
from workers.detectors.detector import Image, Prediction
from workers.hot import HotFrames, hot_key
from workers.inference.champions import Champion, Champions
from workers.inference.facts import checked, embedding_bytes, facts_of
from workers.inference.heatmap import encode_map
from workers.inference.plan import RecipePlan
from workers.inference.shadow import Shadow, Watched
from workers.inference.verdict import Decision, decide


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
        self.log, self.database = EventLog(stream_url), Database(database_url, pool_size=2)
        self.store = ImageStore(images, minimum_free_bytes)
        self.maximum_megapixels, self.minimum_side_pixels = maximum_megapixels, minimum_side_pixels
        self.recipes, self.hot = recipes, hot
        self.sources = {"memory": 0, "file": 0}
        self.device, self.threads, self.models = device, threads, models
        self.delivery, self.status = delivery, Status()
        self.shadow = Shadow(self.log)

    def run(self, stop: threading.Event) -> None:
        self.status.set("loading", "importing the detector")
        from workers.detectors.registry import load, use_threads  # torch is heavy: only where it is used

        use_threads(self.threads)
        load_here = partial(load, device=self.device)
        name = self.delivery.consumer
        self.work(Champions(self.database, self.models, list(self.recipes), load_here, name), stop)

    def work(self, champions: Champions, stop: threading.Event) -> None:
        """Score with these models until stopped."""
        self.champions = champions
        consumer = Consumer(self.log, [self.log.key(FrameCaptured)], self.delivery, self.handle, self.bury, self.status)
        try:
            consumer.run(stop, tick=self.refresh)
        finally:
            self.shadow.stop()
            champions.close()

    def refresh(self) -> None:
        """Between two batches: a deployment that cannot be loaded leaves the model that is there at work, and says so.

        ModelError while a recipe has no usable model at all.
        """
        champions = self.champions
        champions.refresh()
        facts = self.status.facts
        facts["frames_from"] = dict(self.sources)
        facts["models"] = champions.names(Alias.CHAMPION)
        facts["beside"] = {alias.value: champions.names(alias) for alias in (Alias.CANARY, Alias.CHALLENGER)}
        facts["refused"] = {f"{recipe} {alias}": why for (recipe, alias), why in champions.refused.items()}
        facts["shadow"] = dict(self.shadow.counts)

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
        for part in parts:
            self.show(part, waited[id(part)])

    def show(self, part: Part, waited_milliseconds: float) -> None:
        """To the challenger, what was judged by another version; its verdict is told already."""
        if part.failure or not part.images or part.champion is None:
            return
        challenger = self.champions.challenger(part.event.recipe, part.event.trigger.inspection_id)
        if challenger is not None and challenger.version.id != part.champion.version.id:
            self.shadow.offer(Watched(part.event, part.images, challenger), waited_milliseconds)

    def fetch(self, parts: list[Part]) -> None:
        """The pixels that were stored: the hot copy where it still is, else the file."""
        hot = self.hot.take([self.key(part, frame) for part in parts for frame in part.event.frames])
        for part in parts:
            try:
                part.champion = self.champion(part.event)
                part.images = [self.pixels(part, frame, hot) for frame in part.event.frames]
            except InspectionFailed as error:
                part.failure = str(error)

    def champion(self, event: FrameCaptured) -> Champion:
        """Who decides about this part, or the canary in its place."""
        if event.recipe not in self.recipes:
            known = ", ".join(self.recipes)
            raise InspectionFailed(f"recipe {event.recipe} is not in the configuration (it has {known})")
        return self.champions.judge(event.recipe, event.trigger.inspection_id)

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
        return decode(
            self.store.get(frame.sha256),
            minimum_side=size,
            maximum_megapixels=self.maximum_megapixels,
            from_outside=frame.source is not None,
        )

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
        plan = self.recipes[part.event.recipe]
        scored = [
            (facts_of(frame, prediction, part.champion), prediction)
            for frame, prediction in zip(part.event.frames, part.predictions, strict=True)
            if isinstance(prediction, Prediction)
        ]
        inspection_id, facts = part.event.trigger.inspection_id, [fact for fact, _ in scored]
        decision = decide(inspection_id, facts, plan.sample_rate, plan.ng_sample_rate)
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


def milliseconds_since(event: FrameCaptured) -> float:
    return 1000 * (now() - event.told_at).total_seconds()

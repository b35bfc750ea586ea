"""Which models score a recipe's parts: loaded beside the work, changed between two batches, as the records say."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from storage import deployments, thresholds
from storage.database import Database
from storage.deployments import Alias
from storage.errors import ModelError, ModelMissing
from storage.events import now
from storage.models import ModelSwap, ModelVersion
from storage.thresholds import Thresholds
from workers.detectors.detector import Detector
from workers.inference.verdict import CANARY_BITS, SHADOW_BITS, drawn

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # how often the deployments table is asked; a notification is only a hint

Load = Callable[[Path, str], Detector]
Place = tuple[str, Alias]
"""A recipe, and as what a version scores its parts."""


@dataclass(frozen=True)
class Deployed:
    """What the records say now: a version, by which deployment, for what share of the parts, judged by what."""

    version: ModelVersion
    thresholds: Thresholds
    deployment_id: int
    share: float


@dataclass(frozen=True)
class Champion:
    """A loaded model with all that judges its scores; exchanged as a whole, so that no part sees half of each."""

    version: ModelVersion
    thresholds: Thresholds
    detector: Detector
    deployment_id: int
    share: float
    worker: str


@dataclass(frozen=True)
class Swap:
    """A worker scores by this deployment from this moment on."""

    deployment_id: int
    swapped_at: datetime
    load_milliseconds: float


Loaded = tuple[Detector, float]
"""A detector, and how many milliseconds it took to load."""


class Champions:
    """The models of each recipe: its champion, and the canary and the challenger beside it."""

    def __init__(
        self, database: Database, models: Path, recipes: Sequence[str], load: Load, worker: str = "inference"
    ) -> None:
        self.database, self.models, self.recipes, self.load = database, models, recipes, load
        self.worker = worker
        self.held: dict[Place, Champion] = {}
        self.wanted: dict[Place, Deployed] = {}
        self.loading: dict[Place, tuple[Deployed, Future[Loaded]]] = {}
        self.spare: dict[str, Champion] = {}  # the champion before: the way back is not to wait for a load
        self.refused: dict[Place, str] = {}
        self.swaps: list[Swap] = []  # not yet on record
        self.loader = ThreadPoolExecutor(1, "load model")
        self.look_at = 0.0

    @property
    def loaded(self) -> dict[str, Champion]:
        """The champion of each recipe."""
        return {recipe: held for (recipe, alias), held in self.held.items() if alias is Alias.CHAMPION}

    @property
    def complete(self) -> bool:
        return set(self.loaded) == set(self.recipes)

    def judge(self, recipe: str, inspection_id: UUID) -> Champion:
        """Who decides about this part: the canary about its share, else the champion."""
        canary = self.held.get((recipe, Alias.CANARY))
        if canary is not None and drawn(inspection_id, canary.share, CANARY_BITS):
            return canary
        return self.held[recipe, Alias.CHAMPION]

    def challenger(self, recipe: str, inspection_id: UUID) -> Champion | None:
        """Who watches this part."""
        found = self.held.get((recipe, Alias.CHALLENGER))
        return found if found is not None and drawn(inspection_id, found.share, SHADOW_BITS) else None

    def refresh(self) -> None:
        """Between two batches: take what has been loaded, and now and then look what is deployed.

        ModelError when a recipe has no usable champion. What cannot be loaded leaves what is there at work, is told in
        `refused`, and tried again.
        """
        self.take_loaded()
        if time.monotonic() >= self.look_at:
            with self.database.begin() as session:
                self.wanted = {place: found for recipe in self.recipes for place, found in deployed(session, recipe)}
            failures = [failure for recipe in self.recipes if (failure := self.begun(recipe))]
            self.follow()
            if self.complete:
                self.look_at = time.monotonic() + LOOK_SECONDS
            elif failures:
                raise failures[0]
        self.record_swaps()

    def begun(self, recipe: str) -> ModelError | None:
        """A recipe without any model waits for its champion; each for itself: one keeps no other from its model."""
        place = recipe, Alias.CHAMPION
        if place in self.held:
            return None
        try:
            if place not in self.wanted:
                raise ModelMissing(f"recipe {recipe}: no model is deployed yet")
            self.use(place, self.wanted[place], self.load_timed(self.wanted[place]))
        except ModelError as error:
            return error
        return None

    def follow(self) -> None:
        """Take away what is deployed no more, use new thresholds and shares at once, load new versions."""
        for place in [*self.held]:
            if place in self.wanted and self.wanted[place].share == 0:
                self.take_away(place)
        for place, wanted in self.wanted.items():
            held = self.held.get(place)
            if wanted.share == 0 or place in self.loading or (held is None and place[1] is Alias.CHAMPION):
                continue
            if held is None or held.version.id != wanted.version.id:
                spare = self.spare.get(place[0])
                if spare is not None and place[1] is Alias.CHAMPION and spare.version.id == wanted.version.id:
                    self.try_to_use(place, wanted, (spare.detector, 0.0))
                    continue
                self.loading[place] = wanted, self.loader.submit(self.load_timed, wanted)
            elif (held.thresholds, held.deployment_id, held.share) != (
                wanted.thresholds,
                wanted.deployment_id,
                wanted.share,
            ):
                self.try_to_use(place, wanted, (held.detector, 0.0))
            else:
                self.refused.pop(place, None)

    def take_loaded(self) -> None:
        """What was loaded beside the work takes over; what was deployed over it meanwhile is left to the next look."""
        for place, (wanted, future) in [*self.loading.items()]:
            if not future.done():
                continue
            del self.loading[place]
            current = self.wanted.get(place)
            if current is None or current.version.id != wanted.version.id or current.share == 0:
                continue
            try:
                self.use(place, current, future.result())
            except ModelError as error:
                self.refuse(place, error)

    def try_to_use(self, place: Place, wanted: Deployed, loaded: Loaded) -> None:
        try:
            self.use(place, wanted, loaded)
        except ModelError as error:
            self.refuse(place, error)

    def use(self, place: Place, wanted: Deployed, loaded: Loaded) -> None:
        refuse_thresholds(wanted.version.id, wanted.thresholds)
        detector, milliseconds = loaded
        before = self.held.get(place)
        if before is not None and place[1] is Alias.CHAMPION and before.version.id != wanted.version.id:
            self.spare[place[0]] = before
        self.held[place] = Champion(
            wanted.version, wanted.thresholds, detector, wanted.deployment_id, wanted.share, self.worker
        )
        self.refused.pop(place, None)
        recipe, alias = place
        if before is None or before.deployment_id != wanted.deployment_id:
            self.swaps.append(Swap(wanted.deployment_id, now(), milliseconds))
            logger.info("recipe %s: %s %s, loaded in %.0f ms", recipe, alias, wanted.version.id, milliseconds)
        else:
            logger.info("recipe %s: %s: OK below %g, NG from %g", recipe, alias, *wanted.thresholds)

    def take_away(self, place: Place) -> None:
        before = self.held.pop(place)
        self.refused.pop(place, None)
        self.swaps.append(Swap(self.wanted[place].deployment_id, now(), 0.0))
        logger.info("recipe %s: %s %s scores no more", *place, before.version.id)

    def refuse(self, place: Place, error: ModelError) -> None:
        recipe, alias = place
        if self.refused.get(place) != str(error):
            logger.error("recipe %s: the deployed %s cannot be used, the one before stays: %s", recipe, alias, error)
        self.refused[place] = str(error)

    def load_timed(self, wanted: Deployed) -> Loaded:
        begun = time.perf_counter()
        refuse_thresholds(wanted.version.id, wanted.thresholds)
        detector = self.load(self.models / wanted.version.id, wanted.version.sha256)
        return detector, 1000 * (time.perf_counter() - begun)

    def record_swaps(self) -> None:
        """On record before the first part is scored by it; what could not be written is kept for the next time."""
        if not self.swaps:
            return
        with self.database.begin() as session:
            rows = [
                ModelSwap(
                    deployment_id=swap.deployment_id,
                    worker=self.worker,
                    swapped_at=swap.swapped_at,
                    load_milliseconds=swap.load_milliseconds,
                )
                for swap in self.swaps
            ]
            deployments.note_swaps(session, rows)
        self.swaps.clear()

    def names(self, alias: Alias) -> dict[str, str]:
        """Which version each recipe has as this."""
        return {recipe: held.version.id for (recipe, other), held in self.held.items() if other is alias}

    def close(self) -> None:
        self.loader.shutdown(wait=False, cancel_futures=True)


def deployed(session: Session, recipe: str) -> Iterator[tuple[Place, Deployed]]:
    """The recipe's newest deployments, those that take an alias away included."""
    for alias, deployment in deployments.newest(session, recipe).items():
        version = deployments.version_of(session, deployment.model_version)
        limits = thresholds.in_force(session, recipe, version)
        yield (recipe, alias), Deployed(version, limits, deployment.id, deployment.share)


def refuse_thresholds(model_version: str, limits: Thresholds) -> None:
    if not 0.0 <= limits.ok <= limits.ng:
        words = f"OK below {limits.ok}, NG from {limits.ng}"
        raise ModelError(f"model {model_version}: {words}; the first must not be above the second")

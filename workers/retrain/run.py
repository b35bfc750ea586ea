"""One training run: its phases in order, each begun where a killed process left off."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from storage import training_runs
from storage.database import Database
from storage.errors import TrainingCancelled, TrainingError
from storage.image_store import ImageStore
from storage.training_models import Phase, TrainingRun
from workers.retrain.checkpoint import Checkpoint
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.plan import TrainerPlan

logger = logging.getLogger(__name__)

NOTE_SECONDS = 0.5

Left = dict[str, Any]
"""What a phase leaves for those after it, as JSON."""


class Run:
    """A run under way. Every step of it may be repeated: nothing is on record before it is whole."""

    def __init__(
        self, plan: TrainerPlan, database: Database, row: TrainingRun, still_mine: Callable[[], bool] = lambda: True
    ) -> None:
        self.plan, self.database, self.row, self.still_mine = plan, database, row, still_mine
        self.store = ImageStore(plan.images, plan.minimum_free_bytes)
        self.checkpoint = Checkpoint(plan.training, row.id)
        self.cache = FeatureCache(plan.features, plan.feature_bytes)
        self.left: dict[Phase, Left] = {}
        self.note_at = 0.0

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe's settings; TrainingError when the line has it no more."""
        if self.row.recipe not in self.plan.recipes:
            known = ", ".join(self.plan.recipes) or "none"
            raise TrainingError(f"recipe {self.row.recipe} is not in the configuration any more; it has {known}")
        return self.plan.recipes[self.row.recipe]

    @cached_property
    def device(self) -> str:
        """Where torch computes: `auto` is decided here, once, for every phase."""
        from workers.detectors.registry import usable  # torch: only where something is trained

        return usable(self.plan.device)

    def execute(self) -> None:
        """Every phase that has not been done; the last one puts the run's end on record."""
        from workers.retrain.steps import STEPS  # torch: only where something is trained

        for phase in Phase:
            left = self.checkpoint.read(phase)
            if left is None:
                self.note(phase=phase, progress=0.0, detail="")
                began = time.monotonic()
                left = STEPS[phase](self)
                left["seconds"] = round(time.monotonic() - began, 2)
                self.checkpoint.write(phase, left)
                logger.info("phase %s took %.1f s", phase, left["seconds"])
            self.left[phase] = left

    def progress(self, done: int, total: int, detail: str = "") -> None:
        """Told often; written down now and then. TrainingCancelled when somebody wants the run to end."""
        if time.monotonic() >= self.note_at:
            self.note(progress=done / total if total else 0.0, detail=detail or f"{done} of {total} images")

    def note(self, **facts: Any) -> None:
        if not self.still_mine():
            raise ConnectionError("the database no longer knows this process as the one that trains")
        with self.database.begin() as session:
            cancelled = training_runs.note(session, self.row.id, **facts)
        self.note_at = time.monotonic() + NOTE_SECONDS
        if cancelled:
            raise TrainingCancelled

    @property
    def seconds(self) -> dict[str, float]:
        """What each phase took, in the attempt that finished it."""
        return {phase.value: left["seconds"] for phase, left in self.left.items()}

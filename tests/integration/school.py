"""Labelled parts, a champion, and whoever retrains it: in a process of its own, or here."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

from orchestrator.recipe import Recipe
from storage import records, training_runs
from storage.images import decode
from storage.models import ModelVersion
from storage.stream import EventLog
from storage.training_models import Cause, Phase, TrainingRun
from tests.facts import RECIPE, Plant, model
from tests.integration.test_snapshots import Workshop, texture
from workers.detectors import supervised_teaching
from workers.detectors.backbone import BackboneSource
from workers.detectors.detector import Detector
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.patchcore import PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.supervised_training import beneath
from workers.retrain import looking
from workers.retrain.plan import TrainerPlan
from workers.retrain.process import TrainerProcess
from workers.retrain.trainer import work

SIDE = 64
LABELS = 60
GATE = {"minimum_good": 5, "minimum_anomalies": 5, "disturbed_parts": 4, "resamples": 200, "class_parts": 2}


def brief(base: Detector) -> HeadConfiguration:
    return replace(beneath(base), folds=2, members=2, width=8, epochs=1, least_steps=20)


class School(Workshop):
    """Labelled parts, a champion, and processes that retrain it."""

    def __init__(self, plant: Plant, log: EventLog, home: Path) -> None:
        super().__init__(plant, log, home / "images")
        self.home = home
        given = {
            "image_size": SIDE,
            "target_false_reject_rate": 0.2,
            "retrain": {"test_share": 0.4},
            "gate": GATE,
        }
        recipe = Recipe.model_validate(given).model_dump(mode="json")
        self.plan = TrainerPlan(
            database_url=self.database.url,
            home=home,
            recipes={RECIPE: recipe},
            maximum_megapixels=1.0,
            minimum_free_bytes=0,
            idle_only=False,
            maximum_attempts=20,
        )

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe's settings, to be changed."""
        found = self.plan.recipes[RECIPE]
        assert isinstance(found, dict)
        return found

    def teach(self, source: BackboneSource | None = None, **choices: Any) -> None:
        """A champion that knows good parts."""
        images = [decode(texture(number)) for number in range(1000, 1030)]
        facts: dict[str, Any] = {"image_size": SIDE, "bank_size": 100, "target_false_reject_rate": 0.2}
        configuration = PatchCoreConfiguration(**facts | choices)
        self.crown(teach(images, configuration=configuration, seed=0, source=source))

    def crown(self, taught: Detector) -> None:
        """Make it the champion."""
        name = f"{RECIPE}-20260101-2"
        row = model(name, detector=taught.name, sha256=taught.save(self.plan.models / name))
        row.ok_threshold, row.ng_threshold = taught.ok_threshold, taught.ng_threshold
        with self.database.begin() as session:
            records.register_model(session, row)
            records.deploy(session, RECIPE, name, "test", "taught")

    def ask(self) -> UUID:
        with self.database.begin() as session:
            return training_runs.ask(session, RECIPE, Cause.HAND, "eve", 0).id

    def run(self, run_id: UUID) -> TrainingRun:
        with self.database.begin() as session:
            return training_runs.find(session, run_id)

    @contextmanager
    def training(self, **changes: Any) -> Iterator[TrainerProcess]:
        trainer = TrainerProcess(TrainerPlan(**{**self.plan.__dict__, **changes}), self.home / "trainer.log")
        try:
            yield trainer
        finally:
            trainer.stop()

    def train(self, run_id: UUID | None = None, **changes: Any) -> TrainingRun:
        """A run to its end within this process, where torch is loaded already; its head learns for a moment only."""
        run_id = run_id or self.ask()
        plan = TrainerPlan(**{**self.plan.__dict__, "maximum_attempts": 1, **changes})
        with patch.object(looking, "beneath", brief), patch.object(supervised_teaching, "beneath", brief):
            work(plan, self.database, lambda: True)
        return self.run(run_id)

    def ended(self, trainer: TrainerProcess) -> int:
        while (code := trainer.ended()) is None:
            time.sleep(0.05)
        return code

    def kill_in(self, run_id: UUID, phase: Phase) -> None:
        """Once the run is in this phase, its process is gone in the middle of whatever it does."""
        with self.training() as trainer:
            while self.run(run_id).phase != phase:
                assert trainer.ended() is None, (self.home / "trainer.log").read_text()
                time.sleep(0.005)
            os.kill(trainer.pid, signal.SIGKILL)
            assert self.ended(trainer) == -signal.SIGKILL

    def models(self) -> set[str]:
        """Folders among the models, drafts included."""
        return {path.name for path in self.plan.models.iterdir()}

    def versions(self) -> list[ModelVersion]:
        with self.database.begin() as session:
            return [row for row in session.query(ModelVersion) if row.detector != "brightness"]

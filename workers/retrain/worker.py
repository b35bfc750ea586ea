"""Asks for training runs when they are due, and has a process work on them, one at a time."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from storage import drift, training_runs
from storage.database import Database
from storage.errors import DatabaseUnavailable
from storage.events import now
from storage.training_models import Cause, RunState, TrainingRun
from workers.consumer import Status
from workers.retrain.plan import TrainerPlan
from workers.retrain.process import TrainerProcess
from workers.retrain.schedule import Schedule, Standing, due

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
AGAIN_SECONDS = (1.0, 60.0)  # after a trainer that failed; doubled up to the second
BY_ITSELF = "adline"


class RetrainWorker:
    """The line's schedule of training runs. What is asked for is in Postgres, so that it outlives this worker."""

    def __init__(self, *, plan: TrainerPlan, log: Path) -> None:
        self.plan, self.log = plan, log
        self.database = Database(plan.database_url, pool_size=2)
        self.status = Status()
        self.schedules: dict[str, Schedule] = plan.schedules()
        self.looked_at: dict[str, datetime] = dict.fromkeys(self.schedules, now())
        self.paused: dict[str, str | None] = {}
        self.trainer: TrainerProcess | None = None
        self.begin_at, self.pause_seconds = 0.0, AGAIN_SECONDS[0]

    def run(self, stop: threading.Event) -> None:
        """Look at the schedules and the runs until stopped; a run under way is resumed at the next start."""
        self.status.set("running")
        try:
            while not stop.wait(LOOK_SECONDS):
                self.look()
        finally:
            if self.trainer:
                self.trainer.stop()

    def look(self) -> None:
        self.status.beat()
        try:
            for recipe, schedule in self.schedules.items():
                self.ask_when_due(recipe, schedule)
            self.drive()
            self.report()
        except DatabaseUnavailable as error:
            self.status.set("held", str(error))
            return
        self.status.set("running", self.status.detail)

    def ask_when_due(self, recipe: str, schedule: Schedule) -> None:
        if schedule == Schedule():
            return
        at = now()
        with self.database.begin() as session:
            if training_runs.under_way(session, recipe):
                return  # what is due meanwhile is due afterwards
            since = training_runs.last_asked(session, recipe, Cause.DRIFT)
            standing = Standing(
                self.looked_at[recipe],
                new_labels=training_runs.new_labels(session, recipe, schedule.after_labels),
                drifted=drift.parts_drifted(session, recipe, since),
                paused=drift.retraining_paused(session, recipe),
            )
            cause = due(schedule, standing, at)
            if cause:
                run = training_runs.ask(session, recipe, cause, BY_ITSELF, self.plan.recipes[recipe]["seed"])
                logger.info("recipe %s: run %s is due: %s", recipe, run.id, cause)
        self.looked_at[recipe] = at
        self.paused[recipe] = standing.paused

    def drive(self) -> None:
        """Have one process while there is a run that waits or was left."""
        if self.trainer is not None:
            code = self.trainer.ended()
            if code is None:
                return
            self.trainer = None
            self.rest(code)
        if time.monotonic() < self.begin_at:
            return
        with self.database.begin() as session:
            wanted = training_runs.under_way(session)
        if wanted:
            self.trainer = TrainerProcess(self.plan, self.log)
            logger.info("training goes on in process %d", self.trainer.pid)

    def rest(self, code: int) -> None:
        """A trainer that failed is not begun again at once, for what made it fail may still be so."""
        shortest, longest = AGAIN_SECONDS
        if code == 0:
            self.begin_at, self.pause_seconds = 0.0, shortest
            return
        logger.warning("the trainer ended with code %d; again in %.0f s", code, self.pause_seconds)
        self.begin_at = time.monotonic() + self.pause_seconds
        self.pause_seconds = min(2 * self.pause_seconds, longest)

    def report(self) -> None:
        """What the terminal and the health page show."""
        with self.database.begin() as session:
            runs = training_runs.listed(session, limit=1)
            labels = {
                recipe: training_runs.new_labels(session, recipe, schedule.after_labels)
                for recipe, schedule in self.schedules.items()
            }
        self.status.handled = sum(labels.values())
        newest = runs[0] if runs else None
        self.status.detail = in_words(newest) if newest else ""
        self.status.facts["training"] = {
            "new_labels": labels,
            "after_labels": {recipe: schedule.after_labels for recipe, schedule in self.schedules.items()},
            "paused": {recipe: why for recipe, why in self.paused.items() if why},
            "trainer_pid": self.trainer.pid if self.trainer else None,
            "newest": brief(newest) if newest else None,
        }


def brief(run: TrainingRun) -> dict[str, Any]:
    """What is shown of a run; `step` changes with each phase, `words` with each image."""
    facts = ("recipe", "cause", "state", "phase", "progress", "detail", "promoted", "sentence", "error")
    figures = {name: run.figures.get(name) for name in ("f1_before", "f1_after")}
    step = f"{run.recipe}: {run.phase or 'begins'}" if run.state is RunState.RUNNING else in_words(run)
    told = {name: getattr(run, name) for name in facts}
    return {"id": str(run.id), **told, **figures, "words": in_words(run), "step": step}


def in_words(run: TrainingRun) -> str:
    """One line for a person."""
    if run.state is RunState.RUNNING:
        percent = f" {run.progress:.0%}" if run.progress else ""
        return f"{run.recipe}: training, {run.phase or 'begins'}{percent}{f', {run.detail}' if run.detail else ''}"
    if run.state is RunState.QUEUED:
        return f"{run.recipe}: waits to be trained"
    return f"{run.recipe}: {run.sentence or run.error or run.state}"

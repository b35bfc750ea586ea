"""What `adline train` does on the records of a line, running or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.archive import records
from orchestrator.configuration import Loaded
from orchestrator.lock import line_holder
from orchestrator.plan import trainer_plan
from orchestrator.settings import Settings
from storage import training_runs
from storage.database import Database, check_schema
from storage.errors import NotOnRecord, RecipeUnknown, TrainingRefused
from storage.training_models import ENDED, Cause, TrainingRun
from workers.retrain.process import TrainerProcess
from workers.retrain.worker import in_words

POLL_SECONDS = 0.5
Say = Callable[[str], None]


def run(loaded: Loaded, recipe: str | None, seed: int | None, by: str, wait: bool, say: Say) -> dict[str, Any]:
    """Ask for a run; with wait, stay until it has ended. Where no line runs, waiting means to train here."""
    name = wanted_recipe(loaded.settings, recipe)
    chosen = loaded.settings.recipes[name].seed if seed is None else seed
    with records(loaded) as used:
        check_schema(used.database_url)
        with closing(Database(used.database_url, pool_size=2)) as database:
            with database.begin() as session:
                asked = training_runs.ask(session, name, Cause.HAND, by, chosen)
            if wait:
                asked = waited(loaded, used.database_url, database, asked.id, say)
            return training_runs.shown(asked)


def waited(loaded: Loaded, url: str, database: Database, run_id: UUID, say: Say) -> TrainingRun:
    """The run when it has ended. The line's own worker trains; without a line it is done from here."""
    plan, log = trainer_plan(loaded.settings, url, loaded.home), loaded.home / "logs" / "trainer.log"
    trainer: TrainerProcess | None = None
    died = 0
    try:
        while True:
            with database.begin() as session:
                found = training_runs.find(session, run_id)
            if found.state in ENDED:
                return found
            say(in_words(found))
            if line_holder(loaded.home) is None and (trainer is None or trainer.ended() is not None):
                died += trainer is not None and trainer.ended() != 0
                if died > plan.maximum_attempts:
                    raise TrainingRefused(f"run {run_id} does not get on; {log} tells why")
                trainer = TrainerProcess(plan, log)
            time.sleep(POLL_SECONDS)
    finally:
        if trainer:
            trainer.stop()


def wanted_recipe(settings: Settings, given: str | None) -> str:
    """The recipe that was named, or the line's only one; TrainingRefused tells which there are."""
    used = settings.used_recipes
    if given is None and len(used) == 1:
        return used[0]
    if given in used:
        return str(given)
    what = f"recipe {given!r} is given" if given else "no recipe is given"
    raise RecipeUnknown(f"{what}; the stations run {', '.join(used) or 'none'}")


def report_file(home: Path, run: TrainingRun) -> Path:
    """The gate's page of a run; NotOnRecord while there is none, or when its file is gone."""
    if run.report is None:
        raise NotOnRecord(f"run {run.id} has no report: its gate said nothing ({run.state})")
    found = (home / run.report).resolve()
    if not found.is_relative_to((home / "training").resolve()) or not found.is_file():
        raise NotOnRecord(f"the report of run {run.id} is not in the state folder any more")
    return found

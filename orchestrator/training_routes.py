"""The API of training runs: see them, ask for one, cancel one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, FastAPI, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.answer import answered_with
from orchestrator.person import Person, needs
from orchestrator.review_answers import BODY, MISSING, REFUSED
from orchestrator.settings import Settings
from orchestrator.training import report_file, wanted_recipe
from storage import training_runs
from storage.database import Database
from storage.training_models import Cause, Phase, RunState, TrainingRun

Engineer = Annotated[Person, Depends(needs("engineer"))]
RUNS = "/api/v1/training"
TAGS: list[Any] = ["training"]
ENDED = answered_with(409, "The run has ended already.")
# A file that a run wrote, with its styles and pictures in it: it fetches nothing, runs nothing and asks for nothing.
REPORT_POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
)


class RunShown(BaseModel):
    """A training run, from what asked for it to what the gate said."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    recipe: str
    cause: Cause
    requested_by: str
    requested_at: datetime
    seed: int
    state: RunState
    phase: Phase | None
    progress: float
    detail: str
    attempt: int
    heartbeat_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    cancel_asked_at: datetime | None
    cancel_asked_by: str | None
    champion: str | None
    snapshot: str | None
    candidate: str | None
    promoted: bool
    sentence: str | None
    figures: dict[str, Any]
    report: str | None
    error: str | None


class RunWish(BaseModel):
    """Which recipe to retrain."""

    model_config = ConfigDict(extra="forbid")

    recipe: str | None = Field(default=None, max_length=63, description="Not needed where the line has one.")
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1, description="Not set: the recipe's own.")


def add_training(app: FastAPI, database: Callable[[], Database], settings: Settings, home: Path) -> None:
    @app.get(RUNS, tags=TAGS, responses=REFUSED, response_model=list[RunShown])
    def listed(
        who: Engineer, recipe: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50
    ) -> list[TrainingRun]:
        """Training runs, the newest first."""
        with database().begin() as session:
            return list(training_runs.listed(session, recipe, limit=limit))

    @app.post(RUNS, tags=TAGS, status_code=202, responses=MISSING | BODY, response_model=RunShown)
    def ask(who: Engineer, wish: RunWish) -> TrainingRun:
        """Ask for a run; the one that waits already when there is one."""
        recipe = wanted_recipe(settings, wish.recipe)
        seed = settings.recipes[recipe].seed if wish.seed is None else wish.seed
        with database().begin() as session:
            return training_runs.ask(session, recipe, Cause.HAND, who.name, seed)

    @app.get(f"{RUNS}/{{run_id}}", tags=TAGS, responses=MISSING, response_model=RunShown)
    def shown(who: Engineer, run_id: UUID) -> TrainingRun:
        """One run."""
        with database().begin() as session:
            return training_runs.find(session, run_id)

    @app.get(f"{RUNS}/{{run_id}}/report", tags=TAGS, responses=MISSING, response_class=HTMLResponse)
    def report(who: Engineer, run_id: UUID) -> HTMLResponse:
        """The gate's page: figures, curves, confusion, and pictures of the parts that would be judged otherwise."""
        with database().begin() as session:
            file = report_file(home, training_runs.find(session, run_id))
        return HTMLResponse(file.read_bytes(), headers={"Content-Security-Policy": REPORT_POLICY})

    @app.post(f"{RUNS}/{{run_id}}/cancel", tags=TAGS, responses=MISSING | ENDED, response_model=RunShown)
    def cancel(who: Engineer, run_id: UUID) -> TrainingRun:
        """A run that waits is cancelled at once, one that runs within a second or two."""
        with database().begin() as session:
            return training_runs.cancel(session, run_id, who.name)

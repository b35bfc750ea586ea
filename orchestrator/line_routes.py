"""The API's answer to: how does each station do?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from orchestrator.kept import Kept
from orchestrator.queue_routes import Operator
from orchestrator.review_answers import REFUSED
from storage.database import Database
from storage.estimates import StationCounts, stations
from workers.detectors.calibration import observed_interval

SPANS = 8
"""So many different spans of time are remembered: the page asks for one."""


class Rate(BaseModel):
    """So many of so many, and where the rate lies with 95 % confidence (Clopper-Pearson)."""

    found: int
    decided: int
    low: float
    high: float


class StationState(BaseModel):
    """A station's verdicts, and what people's decisions say of them; a rate is not set before a part is decided."""

    station: str
    verdicts: dict[str, int]
    parts_per_minute: int
    escapes: Rate | None = Field(description="Of parts passed as OK, by the random sample people decided.")
    false_rejects: Rate | None = Field(description="Of parts not passed that people decided: those that are normal.")


def rate(found: int, decided: int) -> Rate | None:
    if not decided:
        return None
    low, high = observed_interval(found, decided)
    return Rate(found=found, decided=decided, low=low, high=high)


def state_of(counts: StationCounts) -> StationState:
    return StationState(
        station=counts.station,
        verdicts=counts.verdicts,
        parts_per_minute=counts.of_late,
        escapes=rate(counts.escapes, counts.sampled),
        false_rejects=rate(counts.false_rejects, counts.held_back),
    )


def add_line(app: FastAPI, database: Callable[[], Database]) -> None:
    @lru_cache(SPANS)
    def kept(hours: float) -> Kept[list[StationState]]:
        def found() -> list[StationState]:
            with database().begin() as session:
                return [state_of(counts) for counts in stations(session, timedelta(hours=hours))]

        return Kept(found)

    @app.get("/api/v1/stations", tags=["line"], responses=REFUSED)
    def how_stations_do(
        who: Operator, hours: Annotated[float, Query(gt=0, le=24 * 366, description="How far back to look.")] = 24
    ) -> list[StationState]:
        """The verdicts of each station, with the rates of escapes and false rejects that people's decisions tell.

        Where a day is a million parts, as of some seconds ago.
        """
        return kept(hours).get()

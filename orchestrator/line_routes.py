"""The API's answer to: how does each station do?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from orchestrator.false_rejects import false_rejects
from orchestrator.kept import Kept
from orchestrator.queue_routes import Operator
from orchestrator.review_answers import REFUSED
from storage.database import Database
from storage.estimates import Reviewed, StationCounts, stations
from workers.detectors.calibration import observed_interval

DAY = 24.0  # hours
SPANS = 8
"""So many different spans of time are remembered: the page asks for one."""


class Share(BaseModel):
    """So many of so many that people decided, and the share they tell."""

    found: int
    decided: int
    share: float


class Rate(Share):
    """And where the share of all such parts lies, with 95 % confidence."""

    low: float
    high: float


class StationState(BaseModel):
    """A station's verdicts, and what people's decisions say of the parts of that time.

    A rate comes of random samples and is not set before one of their parts is decided.
    """

    station: str
    verdicts: dict[str, int]
    parts_per_minute: int
    escapes: Rate | None = Field(
        description="Of the parts passed as OK those that are anomalous: the sample at sample_rate (Clopper-Pearson)."
    )
    false_rejects: Rate | None = Field(
        description="Of the good parts those that were rejected (NG): the samples at ng_sample_rate and sample_rate, "
        "each weighted with the parts it was drawn from. found, decided: good ones among the sampled NG parts."
    )
    good_in_review: Share | None = Field(
        description="Of the REVIEW parts that people decided those that are normal. Not all are decided, and not at "
        "random: no interval."
    )


def state_of(counts: StationCounts) -> StationState:
    return StationState(
        station=counts.station,
        verdicts=counts.verdicts,
        parts_per_minute=counts.of_late,
        escapes=escapes(counts.passed),
        false_rejects=rejects(counts),
        good_in_review=good_in_review(counts.held_back),
    )


def escapes(passed: Reviewed) -> Rate | None:
    if not passed.decided:
        return None
    low, high = observed_interval(passed.anomalous, passed.decided)
    share = passed.anomalous / passed.decided
    return Rate(found=passed.anomalous, decided=passed.decided, share=share, low=low, high=high)


def rejects(counts: StationCounts) -> Rate | None:
    told = false_rejects(counts)
    if told is None:
        return None
    share, (low, high) = told
    return Rate(found=counts.rejected.normal, decided=counts.rejected.decided, share=share, low=low, high=high)


def good_in_review(held_back: Reviewed) -> Share | None:
    if not held_back.decided:
        return None
    share = held_back.normal / held_back.decided
    return Share(found=held_back.normal, decided=held_back.decided, share=share)


class StationStates:
    """How the stations do, for all who ask again and again: the page, the API, Prometheus."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self.database = database
        self.kept = lru_cache(SPANS)(self.kept_for)

    def of(self, hours: float) -> list[StationState]:
        return self.kept(hours).get()

    def kept_for(self, hours: float) -> Kept[list[StationState]]:
        return Kept(lambda: self.found(hours))

    def found(self, hours: float) -> list[StationState]:
        with self.database().begin() as session:
            return [state_of(counts) for counts in stations(session, timedelta(hours=hours))]


def add_line(app: FastAPI, states: StationStates) -> None:
    @app.get("/api/v1/stations", tags=["line"], responses=REFUSED)
    def how_stations_do(
        who: Operator, hours: Annotated[float, Query(gt=0, le=24 * 366, description="How far back to look.")] = DAY
    ) -> list[StationState]:
        """The verdicts of each station, with the rates that people's decisions tell.

        Where a day is a million parts, as of some seconds ago.
        """
        return states.of(hours)

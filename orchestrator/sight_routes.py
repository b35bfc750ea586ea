"""The API's answer to: what is there to see of this review? One question brings all a page shows beside the images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from orchestrator.queue_routes import REVIEW, TAGS, Operator
from orchestrator.review_answers import MISSING, ReviewShown, SimilarPart, Viewed
from storage import embeddings, review_lists, sight
from storage.resolution import RegionFacts
from workers.labeling.distribution import Distribution, distribution
from workers.labeling.proposal import proposed
from workers.labeling.queue import Queue

GOLDEN_SECONDS = 300.0  # an operator compares with one picture, not with another one each time
SIMILAR_SHOWN = 8


class GoldenSample(BaseModel):
    """A typical good part; decided_by is not set where only the model said so."""

    sha256: str
    inspection_id: UUID
    anomaly_score: float
    decided_by: str | None


class ViewSeen(Viewed):
    """A frame, what the model said of it, and what to compare it with."""

    proposal: list[RegionFacts]
    golden: GoldenSample | None
    known_good: Distribution | None


class Sight(ReviewShown):
    """What there is to see of a review."""

    views: list[ViewSeen]  # type: ignore[assignment]  # a list of the narrower kind, which is only read
    similar: list[SimilarPart]
    alike: list[UUID] = Field(description="Open reviews that show the same and could be decided with it, as a group.")


class Looking:
    """Reads what is seen, and keeps what stays the same from one part to the next."""

    def __init__(self) -> None:
        self.goldens: dict[tuple[str, str | None, str], tuple[float, dict[str, Any] | None]] = {}
        self.calibrations: dict[str, dict[str, Any] | None] = {}

    def sight(self, queue: Queue, review_id: UUID, person: str) -> dict[str, Any]:
        with queue.database.begin() as session:
            review = review_lists.shown(session, review_id, person)
            near = embeddings.similar(session, review["inspection_id"], SIMILAR_SHOWN)
            similar = review_lists.similar(session, near)
            alike = queue.alike(session, person, review["inspection_id"], review["station"])
            beside = [self.beside(session, review, view) for view in review["views"]]
        views = [
            {**view, **facts, "proposal": proposed(queue.store, view)}
            for view, facts in zip(review["views"], beside, strict=True)
        ]
        return {**review, "views": views, "similar": similar, "alike": alike}

    def beside(self, session: Session, review: dict[str, Any], view: dict[str, Any]) -> dict[str, Any]:
        return {
            "golden": self.golden(session, review["station"], review["product"], view["camera"]),
            "known_good": self.known_good(session, view),
        }

    def golden(self, session: Session, station: str, product: str | None, camera: str) -> dict[str, Any] | None:
        key = station, product, camera
        until, found = self.goldens.get(key, (0.0, None))
        if found is None or time.monotonic() > until:
            found = sight.golden(session, station, product, camera)
            self.goldens[key] = time.monotonic() + GOLDEN_SECONDS, found
        return found

    def known_good(self, session: Session, view: dict[str, Any]) -> Distribution | None:
        version, score = view["model_version"], view["anomaly_score"]
        if version is None:
            return None
        if version not in self.calibrations:
            self.calibrations[version] = sight.calibration(session, version)
        calibration = self.calibrations[version]
        return distribution(calibration, score) if calibration else None


def add_sight(app: FastAPI, queue: Callable[[], Queue]) -> None:
    looking = Looking()

    @app.get(f"{REVIEW}/sight", tags=TAGS, responses=MISSING, response_model=Sight)
    def seen(who: Operator, review_id: UUID) -> dict[str, Any]:
        """All there is to see of a review beside its images: scores, proposal, golden sample, similar parts."""
        return looking.sight(queue(), review_id, who.name)

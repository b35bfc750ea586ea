"""The API's answer to: what is there to see of this review? One question brings all a page shows beside the images."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Query, Response
from pydantic import BaseModel

from orchestrator.answer import answered_with
from orchestrator.person import needs
from storage import sight
from storage.database import Database
from storage.images import ImageStore, encode
from workers.labeling.distribution import Distribution, distribution
from workers.labeling.proposal import proposal

GOLDEN_SECONDS = 300.0  # an operator compares with one picture, not with another one each time
FOR_EVER = "private, max-age=31536000, immutable"
REFUSALS = {
    **answered_with(401, "Nobody has signed in."),
    **answered_with(403, "The role does not allow it."),
    **answered_with(404, "There is none."),
    **answered_with(422, "What was sent is not as described."),
    **answered_with(503, "A service does not answer; ask again."),
}


class GoldenSample(BaseModel):
    """A typical good part; decided_by is not set where only the model said so."""

    sha256: str
    inspection_id: UUID
    anomaly_score: float
    decided_by: str | None


class ViewSeen(BaseModel):
    """A frame, and what the model that decided said of it."""

    camera: str
    sha256: str
    media_type: str
    width: int
    height: int
    model_version: str | None
    anomaly_score: float | None
    ok_threshold: float | None
    ng_threshold: float | None
    map_sha256: str | None
    golden: GoldenSample | None
    distribution: Distribution | None


class DecidedPart(BaseModel):
    """A part that looks alike, and how it was decided."""

    inspection_id: UUID
    sha256: str
    decision: str
    defects: list[str]
    decided_by: str
    decided_at: datetime
    distance: float


class Sight(BaseModel):
    """What there is to see of a review."""

    review_id: UUID
    inspection_id: UUID
    station: str
    product: str | None
    part_id: str | None
    lot: str | None
    trigger_number: int
    triggered_at: datetime
    reason: str
    round: int
    opened_at: datetime
    opened_by: str | None
    verdict: str | None
    verdict_reason: str | None
    views: list[ViewSeen]
    similar: list[DecidedPart]


class Looking:
    """Reads what is seen, and keeps what stays the same from one part to the next."""

    def __init__(self, database: Database, store: ImageStore) -> None:
        self.database, self.store = database, store
        self.goldens: dict[tuple[str, str | None, str], tuple[float, dict[str, Any] | None]] = {}
        self.calibrations: dict[str, dict[str, Any] | None] = {}

    def sight(self, review_id: UUID) -> dict[str, Any]:
        with self.database.begin() as session:
            found = sight.part(session, review_id)
            views = sight.views(session, found["inspection_id"])
            for view in views:
                view["golden"] = self.golden(session, found["station"], found["product"], view["camera"])
                view["distribution"] = self.distribution(session, view)
            return {**found, "views": views, "similar": sight.similar(session, found["inspection_id"])}

    def golden(self, session: Any, station: str, product: str | None, camera: str) -> dict[str, Any] | None:
        key = station, product, camera
        until, found = self.goldens.get(key, (0.0, None))
        if found is None or time.monotonic() > until:
            found = sight.golden(session, station, product, camera)
            self.goldens[key] = time.monotonic() + GOLDEN_SECONDS, found
        return found

    def distribution(self, session: Any, view: dict[str, Any]) -> Distribution | None:
        version = view["model_version"]
        if version is None:
            return None
        if version not in self.calibrations:
            self.calibrations[version] = sight.calibration(session, version)
        calibration = self.calibrations[version]
        return distribution(calibration, view["raw_score"]) if calibration else None

    def proposal(self, review_id: UUID, camera: str) -> bytes:
        with self.database.begin() as session:
            inspection_id = sight.part(session, review_id)["inspection_id"]
            views = {view["camera"]: view for view in sight.views(session, inspection_id)}
        view = views.get(camera)
        if view is None or view["map_sha256"] is None:
            raise HTTPException(404, f"review {review_id} has no anomaly map of camera {camera!r}")
        stored = self.store.get(view["map_sha256"])
        return encode(proposal(stored, view["ng_threshold"], view["width"], view["height"]), "png")


def add_sight(app: FastAPI, database: Database, store: ImageStore) -> None:
    looking = Looking(database, store)
    reads = {"tags": ["reviews"], "responses": REFUSALS, "dependencies": [Depends(needs("operator"))]}

    @app.get("/api/v1/reviews/{review_id}/sight", response_model=Sight, **reads)
    def seen(review_id: UUID) -> dict[str, Any]:
        """All there is to see of a review beside its images: scores, golden sample, similar parts."""
        return looking.sight(review_id)

    @app.get("/api/v1/reviews/{review_id}/proposal", response_class=Response, **reads)
    def proposed(review_id: UUID, camera: Annotated[str, Query(max_length=200)]) -> Response:
        """The region the model proposes: a PNG of the frame's size, 255 where its anomaly map reaches the threshold."""
        return Response(looking.proposal(review_id, camera), media_type="image/png", headers={"Cache-Control": FOR_EVER})

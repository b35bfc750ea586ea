"""What there is to see of the queue: lists, a review, what looks like it, where the model sees the defect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Query

from orchestrator.counting import Counting
from orchestrator.queue_routes import REVIEW, TAGS, Operator
from orchestrator.review_answers import (
    MISSING,
    REFUSED,
    Choice,
    QueueState,
    ReviewListed,
    ReviewShown,
    SimilarPart,
)
from storage import embeddings, labels, review_lists
from storage.models import ReviewState
from storage.resolution import Name, RegionFacts
from storage.reviews import Filter, state_of
from workers.labeling.agreement import Agreements, agreements
from workers.labeling.proposal import proposed
from workers.labeling.queue import Queue


def add_reviews(app: FastAPI, queue: Callable[[], Queue], counting: Counting) -> None:
    @app.get("/api/v1/queue", tags=TAGS, responses=REFUSED)
    def state(who: Operator) -> QueueState:
        """How the queue stands."""
        rules = queue().rules
        ageing_minutes = rules.ageing.total_seconds() / 60
        return QueueState(**counting.counts(), policy=rules.policy, ageing_minutes=ageing_minutes)

    @app.get("/api/v1/queue/choices", tags=TAGS, responses=REFUSED, response_model=list[Choice])
    def choices(who: Operator) -> list[dict[str, Any]]:
        """What a person may filter by: stations and products of which reviews are open."""
        with queue().database.begin() as session:
            return review_lists.choices(session)

    @app.get("/api/v1/queue/agreement", tags=TAGS, responses=REFUSED)
    def agreement(who: Operator) -> Agreements:
        """How much people agree beyond chance where two of them were asked: Cohen's kappa."""
        with queue().database.begin() as session:
            return agreements(labels.opinion_pairs(session))

    @app.get("/api/v1/reviews", tags=TAGS, responses=REFUSED, response_model=list[ReviewListed])
    def listed(
        who: Operator,
        state: ReviewState | None = None,
        station: Name | None = None,
        product: Name | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        before: Annotated[UUID | None, Query(description="Only reviews older than this one.")] = None,
    ) -> list[dict[str, Any]]:
        """Reviews, the newest first."""
        with queue().database.begin() as session:
            return review_lists.listed(session, state, Filter(station, product), limit, before)

    @app.get(REVIEW, tags=TAGS, responses=MISSING, response_model=ReviewShown)
    def shown(who: Operator, review_id: UUID) -> dict[str, Any]:
        """A review with its images and decisions; while others are asked, what was said is not told."""
        with queue().database.begin() as session:
            return review_lists.shown(session, review_id, who.name)

    @app.get(f"{REVIEW}/similar", tags=TAGS, responses=MISSING, response_model=list[SimilarPart])
    def similar(who: Operator, review_id: UUID, limit: Annotated[int, Query(ge=1, le=50)] = 5) -> list[dict[str, Any]]:
        """The decided parts that look most like it, and how they were decided."""
        with queue().database.begin() as session:
            near = embeddings.similar(session, state_of(session, review_id)["inspection_id"], limit)
            return review_lists.similar(session, near)

    @app.get(f"{REVIEW}/proposal", tags=TAGS, responses=MISSING)
    def proposal(who: Operator, review_id: UUID) -> list[RegionFacts]:
        """Where the model sees the defect: polygons that can be accepted as they are."""
        with queue().database.begin() as session:
            views = review_lists.shown(session, review_id, who.name)["views"]
        return [region for view in views for region in proposed(queue().store, view)]

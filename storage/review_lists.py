"""The queue as people look at it: lists, one review with all there is to see, and how it stands. Read only."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from storage import labels
from storage.label_models import QueueFilter
from storage.models import ReviewState
from storage.reviews import Filter, state_of

ROW = """
    SELECT r.id AS review_id, r.inspection_id, r.state, r.reason, r.station, r.product, r.opened_at, r.opened_by,
           r.round, r.token, r.margin, i.part_id, i.lot, i.triggered_at,
           CASE WHEN r.free_at > clock_timestamp() THEN r.holder END AS holder,
           CASE WHEN r.free_at > clock_timestamp() AND r.holder IS NOT NULL THEN r.free_at END AS lease_until,
           v.verdict, v.anomaly_score, v.reason AS verdict_reason, r.label_id
    FROM reviews r JOIN inspections i ON i.id = r.inspection_id LEFT JOIN verdicts v ON v.inspection_id = i.id
"""
VIEWS = text(
    """
    SELECT f.camera, f.sha256, f.media_type, f.width, f.height, p.anomaly_score, p.ok_threshold, p.ng_threshold,
           p.model_version, p.map_sha256
    FROM frames f LEFT JOIN verdicts v USING (inspection_id)
    LEFT JOIN predictions p
        ON p.inspection_id = f.inspection_id AND p.camera = f.camera AND p.model_version = v.model_version
    WHERE f.inspection_id = :inspection_id ORDER BY f.camera
    """
)
COUNTS = text(
    """
    SELECT count(*) AS open, count(*) FILTER (WHERE holder IS NOT NULL AND free_at > clock_timestamp()) AS leased,
           count(*) FILTER (WHERE cardinality(answered_by) > 0) AS second_opinions,
           count(*) FILTER (WHERE opened_at <= clock_timestamp() - :ageing) AS overdue,
           coalesce(extract(epoch FROM clock_timestamp() - min(opened_at)), 0)::float8 AS oldest_seconds
    FROM reviews WHERE state = 'open'
    """
)

OVERDUE = text(
    """
    SELECT count(*) AS overdue, coalesce(extract(epoch FROM clock_timestamp() - min(opened_at)), 0)::float8
        AS oldest_seconds
    FROM reviews WHERE state = 'open' AND opened_at <= now() - :ageing
    """
)
CHOICES = text(
    "SELECT station, product, count(*) AS open FROM reviews WHERE state = 'open' GROUP BY 1, 2 ORDER BY 1, 2"
)


def listed(
    session: Session, state: ReviewState | None, only: Filter, limit: int, before: UUID | None = None
) -> list[dict[str, Any]]:
    """Reviews, the newest first."""
    condition = "WHERE true" + only.condition
    condition += " AND r.state = 'open'" if state is ReviewState.OPEN else ""
    condition += " AND r.state = 'resolved'" if state is ReviewState.RESOLVED else ""
    condition += " AND r.id < :before" if before else ""
    query = text(f"{ROW} {condition} ORDER BY r.id DESC LIMIT :limit")
    return [dict(row) for row in session.execute(query, {**asdict(only), "before": before, "limit": limit}).mappings()]


def shown(session: Session, review_id: UUID, person: str) -> dict[str, Any]:
    """A review with its views and decisions; opinions of the round that runs are shown to who told them alone."""
    state = state_of(session, review_id)
    row = session.execute(text(f"{ROW} WHERE r.id = :id"), {"id": review_id}).mappings().one()
    views = session.execute(VIEWS, {"inspection_id": state["inspection_id"]}).mappings()
    blind = state["round"] if state["state"] == ReviewState.OPEN else None
    told = [
        label
        for label in labels.history(session, review_id)
        if label["round"] != blind or label["decided_by"] == person or label["id"] == state["label_id"]
    ]
    return {**row, "views": [dict(view) for view in views], "labels": told}


def similar(session: Session, near: dict[UUID, float]) -> list[dict[str, Any]]:
    """Decided parts by the distance of their look, each with its views and its label."""
    found = labels.of(session, list(near))
    return [
        {
            "distance": near[id],
            "label": found[id],
            "views": [
                dict(view) for view in session.execute(VIEWS, {"inspection_id": found[id]["inspection_id"]}).mappings()
            ],
        }
        for id in near
    ]


def counts(session: Session, ageing: timedelta) -> dict[str, Any]:
    """How many reviews wait, and for what."""
    return dict(session.execute(COUNTS, {"ageing": ageing}).mappings().one())


def overdue(session: Session, ageing: timedelta) -> tuple[int, float]:
    """How many reviews have been open for longer, and for how many seconds the oldest has been."""
    found = session.execute(OVERDUE, {"ageing": ageing}).one()
    return found.overdue, found.oldest_seconds


# What a person wants to be asked


def choices(session: Session) -> list[dict[str, Any]]:
    """Of which stations and products reviews are open, and how many."""
    return [dict(row) for row in session.execute(CHOICES).mappings()]


def wish(session: Session, person: str) -> QueueFilter:
    return session.get(QueueFilter, person) or QueueFilter(person=person, station=None, product=None, policy=None)


def remember(session: Session, person: str, station: str | None, product: str | None, policy: str | None) -> None:
    facts = {"station": station, "product": product, "policy": policy}
    row = insert(QueueFilter).values(person=person, **facts)
    session.execute(row.on_conflict_do_update(index_elements=["person"], set_=facts))

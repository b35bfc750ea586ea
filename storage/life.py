"""A part's whole life: every inspection of it, every review, everything people said. Read only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage import audit, review_lists

REVIEW_OF = text("SELECT id FROM reviews WHERE inspection_id = :inspection_id")


@dataclass(frozen=True)
class InspectionLife:
    """One inspection: a row of v_part_history for each view, and its review, if a person was asked."""

    id: UUID
    views: list[dict[str, Any]] = field(default_factory=list)
    review: dict[str, Any] | None = None


def life(session: Session, name: str, person: str) -> list[InspectionLife]:
    """By part_id or an inspection's id, oldest first; as this person may see it. Empty for what is not on record."""
    views: dict[UUID, list[dict[str, Any]]] = {}
    for row in audit.part(session, name):
        views.setdefault(row["inspection_id"], []).append(row)
    return [InspectionLife(id, rows, review_of(session, id, person)) for id, rows in views.items()]


def review_of(session: Session, inspection_id: UUID, person: str) -> dict[str, Any] | None:
    review_id = session.scalar(REVIEW_OF, {"inspection_id": inspection_id})
    return review_lists.shown(session, review_id, person) if review_id else None

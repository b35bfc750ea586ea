"""What an operator sees of a part under review: its views and scores, a golden sample, similar parts. Read only."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from storage import embeddings
from storage.errors import ReviewMissing

SIMILAR_SHOWN = 6
RECENT = 500  # inspections of a station among which the golden sample is looked for
TYPICAL_SCORE = 0.25  # of the median known-good part

PART = text(
    """
    SELECT r.id AS review_id, r.inspection_id, r.station, r.product, r.reason, r.round, r.opened_at, r.opened_by,
           i.part_id, i.lot, i.triggered_at, i.trigger_number, v.verdict, v.reason AS verdict_reason
    FROM reviews r JOIN inspections i ON i.id = r.inspection_id LEFT JOIN verdicts v ON v.inspection_id = i.id
    WHERE r.id = :id
    """
)
VIEWS = text(
    """
    SELECT f.camera, f.sha256, f.media_type, f.width, f.height, p.model_version, p.anomaly_score, p.raw_score,
           p.ok_threshold, p.ng_threshold, p.map_sha256
    FROM frames f LEFT JOIN verdicts v ON v.inspection_id = f.inspection_id
    LEFT JOIN predictions p
        ON p.inspection_id = f.inspection_id AND p.camera = f.camera AND p.model_version = v.model_version
    WHERE f.inspection_id = :id ORDER BY f.camera
    """
)
GOLDEN = text(
    """
    WITH recent AS MATERIALIZED (
        SELECT id FROM inspections WHERE station = :station AND product IS NOT DISTINCT FROM CAST(:product AS varchar)
        ORDER BY trigger_number DESC LIMIT :recent
    )
    SELECT f.sha256, f.inspection_id, p.anomaly_score, l.decided_by
    FROM recent JOIN frames f ON f.inspection_id = recent.id AND f.camera = :camera
    JOIN verdicts v ON v.inspection_id = recent.id
    JOIN predictions p ON p.inspection_id = recent.id AND p.camera = f.camera AND p.model_version = v.model_version
    LEFT JOIN reviews r ON r.inspection_id = recent.id LEFT JOIN labels l ON l.id = r.label_id
    WHERE l.decision = 'normal' OR (r.id IS NULL AND v.verdict = 'OK')
    ORDER BY l.id IS NULL, abs(p.anomaly_score - :typical), recent.id LIMIT 1
    """
)
DECIDED = text(
    """
    SELECT l.id AS label_id, l.inspection_id, l.decision, l.defects, l.decided_by, l.decided_at, worst.sha256
    FROM labels l CROSS JOIN LATERAL (
        SELECT f.sha256 FROM frames f LEFT JOIN predictions p USING (inspection_id, camera)
        WHERE f.inspection_id = l.inspection_id ORDER BY p.anomaly_score DESC NULLS LAST LIMIT 1
    ) worst
    WHERE l.id = ANY (:ids)
    """
)
KNOWN_GOOD = text("SELECT metrics -> 'calibration' FROM model_versions WHERE id = :id")


def part(session: Session, review_id: UUID) -> RowMapping:
    """What the review is about; ReviewMissing when there is none."""
    found = session.execute(PART, {"id": review_id}).mappings().one_or_none()
    if found is None:
        raise ReviewMissing(f"there is no review {review_id}")
    return found


def views(session: Session, inspection_id: UUID) -> list[dict[str, Any]]:
    """Each frame with what the model that decided said of it; those numbers are None where it was not scored."""
    return [dict(row) for row in session.execute(VIEWS, {"id": inspection_id}).mappings()]


def golden(session: Session, station: str, product: str | None, camera: str) -> dict[str, Any] | None:
    """A typical good part: one that a person said is normal, else one the model passed; decided_by tells which."""
    facts = {"station": station, "product": product, "camera": camera, "recent": RECENT, "typical": TYPICAL_SCORE}
    row = session.execute(GOLDEN, facts).mappings().one_or_none()
    return dict(row) if row else None


def similar(session: Session, inspection_id: UUID) -> list[dict[str, Any]]:
    """The decided parts that look most like this one to the model, nearest first, and how they were decided."""
    distances = embeddings.similar(session, inspection_id, SIMILAR_SHOWN)
    rows = {row["label_id"]: row for row in session.execute(DECIDED, {"ids": list(distances)}).mappings()}
    return [{**rows[id], "distance": distance} for id, distance in distances.items() if id in rows]


def calibration(session: Session, model_version: str) -> dict[str, Any] | None:
    """How the model's raw scores of held-out known-good parts became thresholds."""
    found: dict[str, Any] | None = session.scalar(KNOWN_GOOD, {"id": model_version})
    return found

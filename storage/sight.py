"""What an operator compares a part under review with: a good part, and known-good parts' scores. Read only."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

RECENT = 500  # inspections of a station among which the golden sample is looked for
TYPICAL_SCORE = 0.25  # of the median known-good part

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
CALIBRATION = text("SELECT metrics -> 'calibration' FROM model_versions WHERE id = :id")


def golden(session: Session, station: str, product: str | None, camera: str) -> dict[str, Any] | None:
    """A typical good part: one that a person said is normal, else one the model passed; decided_by tells which."""
    facts = {"station": station, "product": product, "camera": camera, "recent": RECENT, "typical": TYPICAL_SCORE}
    row = session.execute(GOLDEN, facts).mappings().one_or_none()
    return dict(row) if row else None


def calibration(session: Session, model_version: str) -> dict[str, Any] | None:
    """How the model's raw scores of held-out known-good parts became thresholds."""
    found: dict[str, Any] | None = session.scalar(CALIBRATION, {"id": model_version})
    return found

"""Labels by their images, for exchange with other programs. Functions take a session and never commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage import labels

# Of an image that several inspections saw, the newest decision.
IN_FORCE = text(
    """
    SELECT DISTINCT ON (f.sha256) f.sha256, f.camera, f.width, f.height, r.label_id, r.product
    FROM reviews r JOIN frames f ON f.inspection_id = r.inspection_id
    WHERE r.label_id IS NOT NULL ORDER BY f.sha256, r.label_id DESC
    """
)
SEEN = text(
    """
    SELECT DISTINCT ON (f.sha256) f.sha256, f.inspection_id, f.camera, f.width, f.height
    FROM frames f LEFT JOIN reviews r ON r.inspection_id = f.inspection_id
    WHERE f.sha256 = ANY (:sha256s) ORDER BY f.sha256, r.label_id DESC NULLS LAST, f.inspection_id DESC
    """
)


@dataclass(frozen=True)
class SeenImage:
    """A recorded frame: of its inspections the one whose label holds for the image, without a label the newest."""

    sha256: str
    inspection_id: UUID
    camera: str
    width: int
    height: int


def in_force(session: Session) -> list[dict[str, Any]]:
    """Every image with the label that holds for it, and that label's regions on it."""
    rows = [dict(row) for row in session.execute(IN_FORCE).mappings()]
    found = labels.of(session, list({row["label_id"] for row in rows}))
    return [row | {"label": found[row["label_id"]]} for row in rows]


def seen(session: Session, sha256s: Sequence[str]) -> dict[str, SeenImage]:
    """The recorded frames with these SHA-256."""
    rows = session.execute(SEEN, {"sha256s": list(sha256s)}).mappings()
    return {row["sha256"]: SeenImage(**row) for row in rows}

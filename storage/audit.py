"""Questions about what happened, for people who trust nobody; read only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class StoredEvidence:
    """What the records say of one stored image; an anomaly map's row has only its SHA-256."""

    sha256: str
    md5: str | None
    size_bytes: int | None
    what: str
    inspection_id: str


INSPECTION_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

EVIDENCE = """
    SELECT sha256, min(md5) AS md5, min(size_bytes) AS size_bytes, 'frame' AS what,
           min(inspection_id::text) AS inspection_id
    FROM frames GROUP BY sha256
    UNION ALL
    SELECT map_sha256, NULL, NULL, 'anomaly map', min(inspection_id::text)
    FROM predictions WHERE map_sha256 IS NOT NULL GROUP BY map_sha256
"""
NEWEST = """
    SELECT i.id AS inspection_id, i.station, i.part_id, i.product, i.lot, i.trigger_number, i.triggered_at,
           v.verdict, v.reason, v.anomaly_score, v.model_version, v.recorded_at
    FROM inspections i LEFT JOIN verdicts v ON v.inspection_id = i.id
    WHERE CAST(:before AS uuid) IS NULL OR i.id < CAST(:before AS uuid)
    ORDER BY i.id DESC LIMIT :limit
"""


def newest(session: Session, limit: int, before: UUID | None = None) -> list[dict[str, Any]]:
    """The newest inspections, newest first; UUIDv7 sorts by the time of the trigger."""
    return rows(session, NEWEST, {"limit": limit, "before": before})


def part(session: Session, name: str) -> list[dict[str, Any]]:
    """Every view of every inspection of a part, oldest first; by part_id, or by the inspection's own id."""
    if INSPECTION_ID.fullmatch(name):
        found = history(session, "inspection_id = CAST(:name AS uuid)", name)
        if found:
            return found
    return history(session, "part_id = :name", name)


def image(session: Session, digest: str) -> list[dict[str, Any]]:
    """Every inspection that saw this image, by its SHA-256 or MD5."""
    return history(session, "sha256 = :name OR md5 = :name", digest.lower())


def lot(session: Session, name: str) -> list[dict[str, Any]]:
    """Every view of every part of a lot, oldest first."""
    return history(session, "lot = :name", name)


def recipe_configuration(session: Session, name: str, version: int) -> dict[str, Any]:
    """What the recipe said in this version."""
    query = "SELECT configuration FROM recipes WHERE name = :name AND version = :version"
    (found,) = rows(session, query, {"name": name, "version": version})
    configuration: dict[str, Any] = found["configuration"]
    return configuration


HISTORY = """
    SELECT h.*, CAST(p.probabilities ->> 'percentile_of_good' AS double precision) AS percentile_of_good,
           p.probabilities
    FROM v_part_history h LEFT JOIN predictions p USING (inspection_id, camera, model_version)
    WHERE {condition} ORDER BY triggered_at, inspection_id, camera
"""


def history(session: Session, condition: str, name: str) -> list[dict[str, Any]]:
    return rows(session, HISTORY.format(condition=condition), {"name": name})


def stored_images(session: Session) -> Iterator[StoredEvidence]:
    """Every image the records name, once: frames, and the anomaly maps of predictions."""
    found = session.execute(text(EVIDENCE).execution_options(yield_per=1000))
    return (StoredEvidence(**row) for row in found.mappings())


def rows(session: Session, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in session.execute(text(query), parameters).mappings()]

"""What is on record of model versions. Functions take a session and never commit."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

LISTED = text(
    """
    SELECT m.id, m.recipe, m.detector, m.created_at, m.parent, m.snapshot, m.training_run, m.code_version, m.sha256,
           m.ok_threshold, m.ng_threshold,
           EXISTS (SELECT FROM predictions p WHERE p.model_version = m.id) AS has_judged,
           EXISTS (SELECT FROM deployments d WHERE d.model_version = m.id) AS was_deployed,
           EXISTS (SELECT FROM v_deployment_requests q
                   WHERE q.model_version = m.id AND q.state = 'waiting') AS is_requested,
           coalesce((SELECT array_agg(d.alias ORDER BY d.alias) FROM deployments d
                     WHERE d.model_version = m.id AND d.share > 0
                       AND d.id IN (SELECT max(id) FROM deployments GROUP BY recipe, alias)), '{}') AS aliases,
           m.metrics -> 'gate' ->> 'sentence' AS gate, m.metrics ->> 'promise' AS promise,
           (SELECT t.report FROM training_runs t WHERE t.id = m.training_run) AS report
    FROM model_versions m
    WHERE (CAST(:recipe AS text) IS NULL OR m.recipe = :recipe) AND (CAST(:id AS text) IS NULL OR m.id = :id)
    ORDER BY m.recipe, m.created_at DESC, m.id DESC
    """
)
DETAIL = text("SELECT configuration, metrics FROM model_versions WHERE id = :id")
TAUGHT_FROM = text(
    "SELECT coalesce(sha256, image) FROM v_model_images "
    "WHERE recipe = :recipe AND source = 'taught' AND snapshot IS NULL"
)
JUDGED = text(
    """
    SELECT p.scored_at IS NOT NULL AS watched, v.verdict, count(DISTINCT v.inspection_id) AS parts,
           min(v.decided_at) AS first_at, max(v.decided_at) AS last_at
    FROM predictions p JOIN verdicts v ON v.inspection_id = p.inspection_id
    WHERE p.model_version = :id GROUP BY 1, 2 ORDER BY 1, 2
    """
)
SHADOW = text(
    """
    SELECT * FROM v_shadow WHERE (CAST(:recipe AS text) IS NULL OR recipe = :recipe)
        AND (CAST(:challenger AS text) IS NULL OR challenger = :challenger)
    ORDER BY recipe, last_decided_at DESC
    """
)
DIFFERENT = text(
    """
    SELECT recipe, inspection_id, part_id, station, decided_at, model_version, challenger, score, challenger_score,
           verdict, judged, would_be
    FROM v_shadow_parts WHERE differs AND recipe = :recipe AND challenger = :challenger
    ORDER BY inspection_id DESC LIMIT :limit
    """
)
MISSED = text(
    """
    SELECT count(*) FROM verdicts v
    JOIN inspections i ON i.id = v.inspection_id JOIN recipes c ON c.id = i.recipe_id
    WHERE c.name = :recipe AND v.decided_at >= :since AND v.model_version IS DISTINCT FROM :challenger
        AND v.model_version IS NOT NULL
        AND NOT EXISTS (SELECT FROM predictions p WHERE p.inspection_id = v.inspection_id
                        AND p.model_version = :challenger)
    """
)
TO_SCORE = text(
    """
    SELECT i.id AS inspection_id, i.part_id, i.station, i.triggered_at, c.configuration, v.verdict, v.model_version,
           f.camera, f.sha256, p.model_version AS scored_by, p.anomaly_score, p.raw_score
    FROM inspections i
    JOIN recipes c ON c.id = i.recipe_id
    JOIN verdicts v ON v.inspection_id = i.id
    JOIN frames f ON f.inspection_id = i.id
    LEFT JOIN predictions p ON p.inspection_id = f.inspection_id AND p.camera = f.camera
        AND p.model_version IN (:version, :against)
    WHERE c.name = :recipe AND i.triggered_at >= :since AND i.triggered_at < :until
    ORDER BY i.id, f.camera, p.model_version
    """
)


@dataclass
class StoredView:
    """One frame of an inspection, and the scores it has by some versions."""

    camera: str
    sha256: str
    scores: dict[str, float]


@dataclass
class StoredPart:
    """One inspection with the frames it was judged by."""

    inspection_id: UUID
    part_id: str | None
    station: str
    triggered_at: datetime
    configuration: dict[str, Any]
    verdict: str
    model_version: str | None
    views: list[StoredView]


def listed(session: Session, recipe: str | None = None, id: str | None = None) -> list[dict[str, Any]]:
    """Versions with the aliases they hold, newest first within a recipe."""
    return [dict(row) for row in session.execute(LISTED, {"recipe": recipe, "id": id}).mappings()]


def detail(session: Session, id: str) -> dict[str, Any]:
    """Its configuration and metrics."""
    return dict(session.execute(DETAIL, {"id": id}).mappings().one())


def taught_from(session: Session, recipe: str) -> frozenset[str]:
    """What first models of the recipe were taught from: SHA-256s; names of files where nobody wrote those down."""
    return frozenset(session.scalars(TAUGHT_FROM, {"recipe": recipe}))


def judged(session: Session, id: str) -> list[dict[str, Any]]:
    """How many parts it judged, by verdict, or only watched."""
    return [dict(row) for row in session.execute(JUDGED, {"id": id}).mappings()]


def shadow(session: Session, recipe: str | None, challenger: str | None = None) -> list[dict[str, Any]]:
    """How challengers differ from who judged meanwhile."""
    return [dict(row) for row in session.execute(SHADOW, {"recipe": recipe, "challenger": challenger}).mappings()]


def different(session: Session, recipe: str, challenger: str, limit: int) -> list[dict[str, Any]]:
    """Parts that the challenger would have judged otherwise, the newest first."""
    parameters = {"recipe": recipe, "challenger": challenger, "limit": limit}
    return [dict(row) for row in session.execute(DIFFERENT, parameters).mappings()]


def missed(session: Session, recipe: str, challenger: str, since: datetime) -> int:
    """Parts judged since then that the challenger did not score: it was behind, or watches a share only."""
    found: int = session.scalar(MISSED, {"recipe": recipe, "challenger": challenger, "since": since}) or 0
    return found


def stored_parts(
    session: Session, recipe: str, version: str, against: str, since: datetime, until: datetime
) -> Iterator[StoredPart]:
    """The recipe's inspections with their frames, and what both versions said of them already."""
    parameters = {"recipe": recipe, "version": version, "against": against, "since": since, "until": until}
    current: StoredPart | None = None
    for row in session.execute(TO_SCORE.execution_options(yield_per=1000), parameters):
        if current is None or current.inspection_id != row.inspection_id:
            if current is not None:
                yield current
            current = StoredPart(
                inspection_id=row.inspection_id,
                part_id=row.part_id,
                station=row.station,
                triggered_at=row.triggered_at,
                configuration=row.configuration,
                verdict=row.verdict,
                model_version=row.model_version,
                views=[],
            )
        if not current.views or current.views[-1].camera != row.camera:
            current.views.append(StoredView(row.camera, row.sha256, {}))
        if row.scored_by is not None:
            current.views[-1].scores[row.scored_by] = row.anomaly_score
    if current is not None:
        yield current


def disposable(rows: list[dict[str, Any]], keep: int) -> list[str]:
    """Versions whose files may go: never deployed nor waiting to be, never judged, nobody's parent, and not among a
    recipe's newest.

    keep: how many such candidates of each recipe stay.
    """
    parents: Collection[str] = {row["parent"] for row in rows if row["parent"]}
    needed = ("has_judged", "was_deployed", "is_requested")
    free = [row for row in rows if not (any(row[fact] for fact in needed) or row["id"] in parents)]
    kept: dict[str, int] = {}
    found = []
    for row in free:  # newest first within a recipe
        kept[row["recipe"]] = kept.get(row["recipe"], 0) + 1
        if kept[row["recipe"]] > keep:
            found.append(row["id"])
    return found

"""The thresholds that judge a recipe's parts, and the scores they judged. Functions take a session, never commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from storage.events import Verdict
from storage.models import ModelVersion, ThresholdSetting


class Thresholds(NamedTuple):
    """On the scale of anomaly_score: a part is OK below the first, NG from the second on, REVIEW between."""

    ok: float
    ng: float


@dataclass(frozen=True)
class ScoredView:
    """One view of an inspection as it was scored; an inspection that was not scored has no camera."""

    inspection_id: UUID
    station: str
    part_id: str | None
    triggered_at: datetime
    recipe: str
    sample_rate: float
    verdict: Verdict
    camera: str | None
    model_version: str | None
    anomaly_score: float | None


SCORED = text(
    """
    SELECT i.id AS inspection_id, i.station, i.part_id, i.triggered_at, c.name AS recipe,
           coalesce(CAST(c.configuration ->> 'sample_rate' AS float8), 0) AS sample_rate, v.verdict,
           p.camera, p.model_version, p.anomaly_score
    FROM inspections i
    JOIN recipes c ON c.id = i.recipe_id
    JOIN verdicts v ON v.inspection_id = i.id
    LEFT JOIN predictions p ON p.inspection_id = i.id AND p.model_version = v.model_version
    WHERE i.triggered_at >= :since AND i.triggered_at < :until
      AND (CAST(:recipe AS text) IS NULL OR c.name = :recipe)
    ORDER BY i.id, p.camera
    """
)
JUDGED = text(
    """
    SELECT verdict, count(*) FROM verdicts v
    JOIN inspections i ON i.id = v.inspection_id JOIN recipes c ON c.id = i.recipe_id
    WHERE c.name = :recipe AND v.model_version = :model_version GROUP BY verdict
    """
)

LABELLED = text(
    """
    SELECT v.verdict, l.decision, count(*) FROM verdicts v
    JOIN inspections i ON i.id = v.inspection_id JOIN recipes c ON c.id = i.recipe_id
    JOIN reviews r ON r.inspection_id = i.id JOIN labels l ON l.id = r.label_id
    WHERE c.name = :recipe AND v.model_version = :model_version AND l.decision IN ('normal', 'anomaly')
    GROUP BY 1, 2
    """
)


def newest_setting(session: Session, recipe: str, model_version: str) -> ThresholdSetting | None:
    """What a person said last; None: the model's own thresholds judge."""
    settings = select(ThresholdSetting).where(
        ThresholdSetting.recipe == recipe, ThresholdSetting.model_version == model_version
    )
    return session.scalar(settings.order_by(ThresholdSetting.id.desc()).limit(1))


def in_force(session: Session, recipe: str, version: ModelVersion) -> Thresholds:
    """What judges the recipe's parts while this version is deployed."""
    judge = newest_setting(session, recipe, version.id) or version
    return Thresholds(judge.ok_threshold, judge.ng_threshold)


def set_thresholds(
    session: Session,
    recipe: str,
    model_version: str,
    thresholds: Thresholds,
    *,
    by: str,
    reason: str,
    target_false_reject_rate: float | None,
) -> ThresholdSetting:
    """From now on these; what was before stays on record."""
    setting = ThresholdSetting(
        recipe=recipe,
        model_version=model_version,
        ok_threshold=thresholds.ok,
        ng_threshold=thresholds.ng,
        target_false_reject_rate=target_false_reject_rate,
        set_by=by,
        reason=reason,
    )
    session.add(setting)
    session.flush()
    return setting


def scored_views(session: Session, since: datetime, until: datetime, recipe: str | None) -> Iterator[ScoredView]:
    """What was scored from one moment until before another, inspection by inspection."""
    found = session.execute(SCORED, {"since": since, "until": until, "recipe": recipe})
    return (ScoredView(*row) for row in found)


def judged(session: Session, recipe: str, model_version: str) -> dict[Verdict, int]:
    """How many parts of the recipe got which verdict by this version, whatever the thresholds were."""
    rows = session.execute(JUDGED, {"recipe": recipe, "model_version": model_version})
    return {Verdict(verdict): count for verdict, count in rows}


def labelled(session: Session, recipe: str, model_version: str) -> dict[tuple[Verdict, str], int]:
    """Of the parts this version judged: how many that got this verdict people then called normal, or anomaly."""
    rows = session.execute(LABELLED, {"recipe": recipe, "model_version": model_version})
    return {(Verdict(verdict), decision): count for verdict, decision, count in rows}

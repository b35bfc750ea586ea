"""How canaries, champions and challengers judged; counted by their scores. Functions take a session, never commit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from storage.deployments import Alias, newest
from storage.events import now
from storage.models import Deployment

WINDOW = timedelta(days=1)
"""How far back a canary is looked at: what changes today is not thinned by the weeks before."""

JUDGED = """
    WITH said AS (
        SELECT p.inspection_id,
               CASE WHEN bool_or(p.anomaly_score >= p.ng_threshold) THEN 'NG'
                    WHEN bool_or(p.anomaly_score >= p.ok_threshold) THEN 'REVIEW' ELSE 'OK' END AS verdict
        FROM {whose} GROUP BY p.inspection_id
    )
    SELECT verdict, count(*) FROM said GROUP BY verdict
"""
DECIDED = """verdicts v JOIN predictions p ON p.inspection_id = v.inspection_id AND p.model_version = v.model_version
        {joined} WHERE v.recorded_at >= :since AND {whose}"""
BY_CANARY = text(JUDGED.format(whose=DECIDED.format(joined="", whose="p.deployment_id = :deployment")))
BY_CHAMPION = text(
    JUDGED.format(
        whose=DECIDED.format(
            joined="JOIN deployments d ON d.id = p.deployment_id",
            whose="d.recipe = :recipe AND d.alias = 'champion'",
        )
    )
)
IN_SHADOW = text(
    JUDGED.format(whose="predictions p WHERE p.model_version = :model_version AND p.scored_at IS NOT NULL")
)
NOT_SCORED = text(
    """
    SELECT v.inspection_id FROM verdicts v
    JOIN inspections i ON i.id = v.inspection_id JOIN recipes c ON c.id = i.recipe_id
    WHERE v.verdict = 'ERROR' AND v.recorded_at >= :since AND c.name = :recipe
        AND EXISTS (SELECT FROM frames f WHERE f.inspection_id = v.inspection_id)
    """
)


def canaries(session: Session) -> list[Deployment]:
    """The canary of each recipe that has one."""
    recipes = session.scalars(select(Deployment.recipe).where(Deployment.alias == Alias.CANARY).distinct()).all()
    found = (newest(session, recipe)[Alias.CANARY] for recipe in sorted(recipes))
    return [one for one in found if one.share > 0]


def by_canary(session: Session, canary: Deployment) -> dict[str, int]:
    return counts(session, BY_CANARY, {"deployment": canary.id, "since": since(canary)})


def by_champion(session: Session, canary: Deployment) -> dict[str, int]:
    """Of the recipe's parts since the canary was deployed, those that the champion judged."""
    return counts(session, BY_CHAMPION, {"recipe": canary.recipe, "since": since(canary)})


def in_shadow(session: Session, canary: Deployment) -> dict[str, int]:
    """What the same version said while it watched."""
    return counts(session, IN_SHADOW, {"model_version": canary.model_version})


def not_scored(session: Session, canary: Deployment) -> Iterable[UUID]:
    """Parts that were captured and became ERROR since; their ids tell whose they were."""
    return session.scalars(NOT_SCORED, {"recipe": canary.recipe, "since": since(canary)})


def since(canary: Deployment) -> datetime:
    return max(canary.deployed_at, now() - WINDOW)


def counts(session: Session, query: Any, parameters: dict[str, Any]) -> dict[str, int]:
    return {verdict.lower(): count for verdict, count in session.execute(query, parameters)}

"""Takes a canary back to the champion when its verdicts are no longer what they were in the shadow."""

from __future__ import annotations

import logging

from sqlalchemy.orm import Session

from storage import canaries, deployments
from storage.database import Database
from storage.deployments import BY_ITSELF, Alias
from storage.models import Deployment
from workers.inference.canary import Judged, drifted
from workers.inference.verdict import CANARY_BITS, drawn

logger = logging.getLogger(__name__)


def watch_canaries(database: Database) -> list[Deployment]:
    """Look at every canary; the deployments that took one back."""
    with database.begin() as session:
        found = [taken for canary in canaries.canaries(session) if (taken := looked_at(session, canary))]
    for one in found:
        logger.warning("recipe %s: canary %s taken back: %s", one.recipe, one.model_version, one.reason)
    return found


def looked_at(session: Session, canary: Deployment) -> Deployment | None:
    why = drifted(*judged(session, canary))
    if why is None:
        return None
    return deployments.withdraw(session, canary.recipe, Alias.CANARY, BY_ITSELF, f"its verdicts drifted: {why}")


def judged(session: Session, canary: Deployment) -> tuple[Judged, Judged, Judged]:
    """By the canary, by the champion in the same time, and by the canary's version while it only watched."""
    lost = [drawn(one, canary.share, CANARY_BITS) for one in canaries.not_scored(session, canary)]
    return (
        Judged(**canaries.by_canary(session, canary), error=sum(lost)),
        Judged(**canaries.by_champion(session, canary), error=len(lost) - sum(lost)),
        Judged(**canaries.in_shadow(session, canary)),
    )

"""When a recipe's model is due to be retrained: pure, so that a schedule can be tried out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cronsim import CronSim

from storage.training_models import Cause


@dataclass(frozen=True)
class Schedule:
    """What the plant wants of a recipe; everything off is retraining by hand alone."""

    cron: str | None = None
    after_labels: int = 0
    on_drift: bool = False


@dataclass(frozen=True)
class Standing:
    """What is known of a recipe now."""

    looked_at: datetime
    """When it was looked at last: what was due before that was asked for, or nobody was there to ask."""
    new_labels: int = 0
    drifted: str | None = None
    """What drifted."""
    paused: str | None = None
    """Why nothing may start by itself: the camera has to be seen to first."""


def due(schedule: Schedule, standing: Standing, now: datetime) -> Cause | None:
    """Why a run is to be asked for now; None when it is not."""
    if standing.paused:
        return None
    if schedule.after_labels and standing.new_labels >= schedule.after_labels:
        return Cause.LABELS
    if schedule.on_drift and standing.drifted:
        return Cause.DRIFT
    if schedule.cron and next(CronSim(schedule.cron, standing.looked_at)) <= now:
        return Cause.CRON
    return None

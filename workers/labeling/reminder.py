"""Tells the line's engineer of reviews that have waited for too long: in the log and as an event."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from storage import review_lists
from storage.database import Database
from storage.events import ReviewsOverdue, now
from storage.stream import EventLog

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 900.0


class Reminder:
    """Tells when reviews become overdue, then every quarter of an hour for as long as some are."""

    def __init__(self, log: EventLog, database: Database, ageing: timedelta, every_seconds: float) -> None:
        self.log, self.database, self.ageing, self.every_seconds = log, database, ageing, every_seconds
        self.look_at = time.monotonic()
        self.tell_at = 0.0

    def remind(self) -> None:
        if time.monotonic() < self.look_at:
            return
        self.look_at = time.monotonic() + self.every_seconds
        with self.database.begin() as session:
            overdue, oldest_seconds = review_lists.overdue(session, self.ageing)
        if not overdue:
            self.tell_at = 0.0
        elif time.monotonic() >= self.tell_at:
            self.tell(overdue, oldest_seconds)

    def tell(self, overdue: int, oldest_seconds: float) -> None:
        ageing_seconds = self.ageing.total_seconds()
        logger.warning(
            "%d reviews have waited for a decision for longer than %.0f minutes (labeling.ageing_minutes), the oldest "
            "for %.0f minutes",
            *(overdue, ageing_seconds / 60, oldest_seconds / 60),
        )
        event = ReviewsOverdue(
            overdue=overdue, oldest_seconds=oldest_seconds, ageing_seconds=ageing_seconds, told_at=now()
        )
        self.log.publish(event)
        self.tell_at = time.monotonic() + AGAIN_SECONDS

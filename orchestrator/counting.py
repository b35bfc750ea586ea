"""How the queue stands, for all who ask again and again: status, metrics, pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from storage import review_lists
from storage.database import Database

MANY = 5000
KEPT_SECONDS = 5.0
"""Counting 100,000 open reviews takes as long as dozens of claims: with many open, an answer is good for so long."""


class Counting:
    """Counts the open reviews; each time, unless they are many."""

    def __init__(self, database: Callable[[], Database], ageing: timedelta) -> None:
        self.database, self.ageing = database, ageing
        self.kept: tuple[float, dict[str, Any]] | None = None

    def counts(self) -> dict[str, Any]:
        if self.kept and time.monotonic() - self.kept[0] < KEPT_SECONDS:
            return self.kept[1]
        with self.database().begin() as session:
            found = review_lists.counts(session, self.ageing)
        self.kept = (time.monotonic(), found) if found["open"] > MANY else None
        return found

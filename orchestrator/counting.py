"""How the queue stands, for all who ask again and again: status, metrics, pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from orchestrator.kept import Kept
from storage import review_lists
from storage.database import Database


class Counting:
    """Counts the open reviews; with 100,000 of them that takes as long as dozens of claims."""

    def __init__(self, database: Callable[[], Database], ageing: timedelta) -> None:
        self.database, self.ageing = database, ageing
        self.kept = Kept(self.count)

    def counts(self) -> dict[str, Any]:
        return self.kept.get()

    def count(self) -> dict[str, Any]:
        with self.database().begin() as session:
            return review_lists.counts(session, self.ageing)

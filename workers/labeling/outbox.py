"""What was decided is told at least once: marked with the decision, told, and only then unmarked."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from storage import labels
from storage.database import Database
from storage.events import ReviewResolved
from storage.stream import EventLog


def tell_resolved(database: Database, log: EventLog, review_ids: Sequence[UUID] | None = None) -> None:
    """Tell what is marked among these reviews; without them, what has been marked for so long that it was missed."""
    with database.begin() as session:
        rows = labels.untold(session) if review_ids is None else labels.untold_of(session, review_ids)
    if rows:
        log.publish(*(ReviewResolved.model_validate(row) for row in rows))
        with database.begin() as session:
            labels.told(session, rows)

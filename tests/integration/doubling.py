"""A worker for the kill test: writes each number to a table, then tells and acknowledges, until it is killed."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from sqlalchemy import text

from storage.database import Database
from storage.events import Event, FrameCaptured, InspectionDecided, Verdict, now
from storage.stream import Entry, EventLog
from workers.consumer import Consumer, Delivery, Status

WRITE = text("INSERT INTO worked (inspection_id, number) VALUES (:id, :number) ON CONFLICT DO NOTHING")


def work(stream_url: str, database_url: str, consumer: str, stop: threading.Event) -> None:
    log, database = EventLog(stream_url), Database(database_url)

    def handle(entries: list[Entry]) -> None:
        events = [entry.event for entry in entries if isinstance(entry.event, FrameCaptured)]
        with database.begin() as session:
            for event in events:
                found = {"id": event.trigger.inspection_id, "number": event.trigger.trigger_number}
                session.execute(WRITE, found)
        log.publish_and_acknowledge(map(decided, events), entries, "inference")

    def bury(entry: Entry, reason: str) -> Iterable[Event]:
        return []

    delivery = Delivery("inference", consumer, batch_size=8, maximum_deliveries=50, reclaim_idle_seconds=0.5)
    Consumer(log, [log.key(FrameCaptured)], delivery, handle, bury, Status()).run(stop)


def decided(event: FrameCaptured) -> InspectionDecided:
    return InspectionDecided(
        trigger=event.trigger,
        recipe=event.recipe,
        recipe_id=event.recipe_id,
        verdict=Verdict.OK,
        reason="fine",
        decided_at=now(),
    )


def live(stream_url: str, database_url: str, consumer: str) -> None:
    """Until killed."""
    work(stream_url, database_url, consumer, threading.Event())

"""Writes down what was captured and decided; the only worker that writes inspections. Sweeps and trims besides."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from storage import records
from storage.database import Database
from storage.errors import ImageMissing
from storage.events import FrameCaptured, InspectionCompleted, InspectionDecided, PartShadowed, now
from storage.images import ImageStore
from storage.stream import Entry, EventLog
from workers.canary_watch import watch_canaries
from workers.consumer import Consumer, Delivery, Status
from workers.labeling.outbox import tell_resolved
from workers.labeling.reminder import Reminder

logger = logging.getLogger(__name__)

TRIM_SECONDS = 2.0
GATHER_MILLISECONDS = 60
SLACK_SECONDS = 600.0
UNWRITABLE = (IntegrityError, DataError, OperationalError, ImageMissing)


class Recorder:
    """Batches rows into one synchronous commit; only then tells that the inspections are completed."""

    def __init__(
        self,
        *,
        stream_url: str,
        database_url: str,
        images: Path,
        minimum_free_bytes: int,
        delivery: Delivery,
        sweep_seconds: float,
        give_up_seconds: float,
        ageing_seconds: float,
    ) -> None:
        self.log, self.database = EventLog(stream_url), Database(database_url, pool_size=2)
        self.store = ImageStore(images, minimum_free_bytes)
        self.delivery, self.status = delivery, Status()
        self.sweeper = Sweeper(self.log, self.database, sweep_seconds, give_up_seconds)
        self.reminder = Reminder(self.log, self.database, timedelta(seconds=ageing_seconds), sweep_seconds)
        self.trim_at = 0.0
        self.captured: set[UUID] = set()
        self.untold: set[UUID] = set()  # committed here, and Redis did not take the word of it yet

    def run(self, stop: threading.Event) -> None:
        keys = [self.log.key(InspectionDecided), self.log.key(FrameCaptured), self.log.key(PartShadowed)]
        consumer = Consumer(self.log, keys, self.delivery, self.handle, self.bury, self.status)
        consumer.run(stop, tick=self.tick)

    def tick(self) -> None:
        if time.monotonic() >= self.trim_at:
            self.log.trim()
            self.trim_at = time.monotonic() + TRIM_SECONDS
        self.sweeper.sweep()
        self.reminder.remind()

    def handle(self, entries: list[Entry]) -> None:
        """Write the batch; when one entry cannot be written, write the others and set that one aside."""
        try:
            self.record(entries, gather=True)
        except UNWRITABLE as error:
            self.handle_apart(entries, error)

    def handle_apart(self, entries: Sequence[Entry], error: Exception) -> None:
        if len(entries) == 1:
            self.refuse(entries[0], error)
            return
        for entry in entries:
            try:
                self.record([entry])
            except UNWRITABLE as found:
                self.refuse(entry, found)

    def record(self, entries: list[Entry], gather: bool = False) -> None:
        """Images durable, rows committed, then told and acknowledged; every step may be repeated.

        gather: captures alone wait a moment for their verdicts, which join the entries; one commit for both. All that
        captures need is done before that wait, while their parts are scored.
        """
        captures, decisions = parted(entries)
        shadowed = [entry.event for entry in entries if isinstance(entry.event, PartShadowed)]
        self.store.make_durable(named_images([*captures, *shadowed], decisions))
        with self.database.begin() as session:
            records.record_captures(session, captures)
            if gather and not decisions:
                entries += self.verdicts()
                _, decisions = parted(entries)
                self.store.make_durable(named_images((), decisions))
            known = self.captured | {event.trigger.inspection_id for event in captures}
            new = records.record_verdicts(session, decisions, known)
            records.record_shadows(session, shadowed)
            self.untold |= new | records.recorded_of(session, redelivered(entries))
        self.remember(captures, decisions)
        told = [event for event in records.unique(decisions) if event.trigger.inspection_id in self.untold]
        self.log.publish_and_acknowledge(map(completed, told), entries, self.delivery.group)
        self.untold -= {event.trigger.inspection_id for event in told}

    def verdicts(self) -> list[Entry]:
        """What is decided within a moment."""
        group, consumer, most = self.delivery.group, self.delivery.consumer, self.delivery.batch_size
        return self.log.read(group, consumer, [self.log.key(InspectionDecided)], most, GATHER_MILLISECONDS)

    def remember(self, captures: Sequence[FrameCaptured], decisions: Sequence[InspectionDecided]) -> None:
        """Captures that are committed need not be written again with their verdict."""
        self.captured |= {event.trigger.inspection_id for event in captures}
        self.captured -= {event.trigger.inspection_id for event in decisions}

    def refuse(self, entry: Entry, error: Exception) -> None:
        reason = f"cannot be recorded: {str(error).splitlines()[0]}"
        logger.error("%s %s: %s", entry.key, entry.id, reason)
        self.log.set_aside(entry, self.delivery.group, reason, self.bury(entry, reason))

    def bury(self, entry: Entry, reason: str) -> list[InspectionDecided]:
        """An inspection whose evidence cannot be recorded becomes ERROR without it, once."""
        event = entry.event
        if not isinstance(event, FrameCaptured | InspectionDecided) or not event.frames:
            return []
        return [InspectionDecided.error(event, f"record: {reason}", evidence=False)]


class Sweeper:
    """A notification is a hint, the table is the truth: asks for captured inspections that have no verdict.

    Such an inspection is told again once; after `give_up_seconds` it becomes ERROR. Decisions of people that nobody was
    told of are told, too; and a canary that has changed is taken back.
    """

    def __init__(self, log: EventLog, database: Database, every_seconds: float, give_up_seconds: float) -> None:
        self.log, self.database = log, database
        self.every_seconds, self.give_up_seconds = every_seconds, give_up_seconds
        self.told: set[UUID] = set()
        self.since: datetime | None = None
        self.sweep_at = time.monotonic() + every_seconds

    def sweep(self) -> None:
        if time.monotonic() < self.sweep_at:
            return
        begun_at = now()
        with self.database.begin() as session:
            found = records.overdue(session, timedelta(seconds=self.every_seconds), self.since)
        for event, recorded_at in found:
            self.act(event, (now() - recorded_at).total_seconds())
        # All before this has its verdict; the slack is for clocks that differ and for commits under way.
        self.since = min((at for _, at in found), default=begun_at) - timedelta(
            seconds=self.every_seconds + SLACK_SECONDS
        )
        self.told &= {event.trigger.inspection_id for event, _ in found}
        tell_resolved(self.database, self.log)
        watch_canaries(self.database)
        self.sweep_at = time.monotonic() + self.every_seconds

    def act(self, event: FrameCaptured, age_seconds: float) -> None:
        inspection_id = event.trigger.inspection_id
        if age_seconds > self.give_up_seconds:
            reason = f"captured {age_seconds:.0f} s ago and never scored (give_up_seconds {self.give_up_seconds:g})"
            self.log.publish(InspectionDecided.error(event, reason))
        elif inspection_id not in self.told:
            logger.warning(
                "inspection %s: captured %.0f s ago without a verdict, told again", inspection_id, age_seconds
            )
            self.told.add(inspection_id)
            self.log.publish(event)


def parted(entries: Sequence[Entry]) -> tuple[list[FrameCaptured], list[InspectionDecided]]:
    events = [entry.event for entry in entries]
    captures = [event for event in events if isinstance(event, FrameCaptured)]
    return captures, [event for event in events if isinstance(event, InspectionDecided)]


def redelivered(entries: Sequence[Entry]) -> list[InspectionDecided]:
    """Decisions that a killed recorder may have committed without telling."""
    return [e.event for e in entries if e.deliveries > 1 and isinstance(e.event, InspectionDecided)]


def named_images(captures: Sequence[FrameCaptured | PartShadowed], decisions: Sequence[InspectionDecided]) -> set[str]:
    events: list[FrameCaptured | PartShadowed | InspectionDecided] = [*captures, *decisions]
    frames = {frame.sha256 for event in events for frame in event.frames}
    maps = {facts.map_sha256 for event in decisions for facts in event.predictions if facts.map_sha256}
    return frames | maps


def completed(event: InspectionDecided) -> InspectionCompleted:
    worst = max(event.predictions, key=lambda facts: facts.anomaly_score, default=None)
    trigger, committed_at = event.trigger, now()
    return InspectionCompleted(
        inspection_id=trigger.inspection_id,
        station=trigger.station,
        run_id=trigger.run_id,
        trigger_number=trigger.trigger_number,
        part_id=trigger.part_id,
        verdict=event.verdict,
        reason=event.reason,
        anomaly_score=worst.anomaly_score if worst else None,
        model_version=worst.model_version if worst else None,
        completed_at=committed_at,
        latency_milliseconds=1000 * (committed_at - trigger.triggered_at).total_seconds(),
        stage_milliseconds={
            **event.stage_milliseconds,
            "record": 1000 * (committed_at - event.decided_at).total_seconds(),
        },
    )

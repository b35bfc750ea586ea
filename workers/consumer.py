"""The loop of every worker that reads events: read, handle, acknowledge; every step may be repeated."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from storage.errors import AdlineError, DatabaseUnavailable, DiskFull, ModelError, StopAsked, StreamUnavailable
from storage.events import Event
from storage.stream import Entry, EventLog

logger = logging.getLogger(__name__)

HOLDS = (StreamUnavailable, DatabaseUnavailable, DiskFull, ModelError, StopAsked)
"""What a worker waits out: the work is not at fault, so it is neither lost nor counted against the entry."""

BLOCK_MILLISECONDS = 200  # how long a stop may go unnoticed while there is nothing to do
HOLD_SECONDS = 0.25
FILL_SECONDS = 0.0005


class Status:
    """What a worker is doing, for health; written by its loop, read by another thread."""

    def __init__(self) -> None:
        self.state = "starting"
        self.detail = ""
        self.handled = 0
        self.beat_at = time.monotonic()
        self.facts: dict[str, object] = {}

    def set(self, state: str, detail: str = "") -> None:
        """Note a state; a change is logged once, and each new reason to hold."""
        if state != self.state or (state == "held" and detail != self.detail):
            logger.log(logging.WARNING if state == "held" else logging.INFO, "%s: %s", state, detail or "-")
        self.state, self.detail = state, detail
        self.beat()

    def beat(self) -> None:
        self.beat_at = time.monotonic()


@dataclass(frozen=True)
class Delivery:
    """How entries reach a worker. A consumer's name is stable: after a crash it finds what it had in hand."""

    group: str
    consumer: str
    batch_size: int = 1
    batch_deadline_seconds: float = 0.0
    maximum_deliveries: int = 5
    reclaim_idle_seconds: float = 15.0


class Consumer:
    """Delivers entries to a handler until told to stop.

    The handler writes, then publishes and acknowledges. When it raises one of HOLDS it is called again with the same
    entries once things may have mended. When it raises anything else the process ends; the entries stay pending and
    are delivered again, one by one, and after `maximum_deliveries` an entry is set aside with what `bury` tells of it.
    """

    def __init__(
        self,
        log: EventLog,
        keys: Sequence[str],
        delivery: Delivery,
        handle: Callable[[list[Entry]], None],
        bury: Callable[[Entry, str], Iterable[Event]],
        status: Status,
    ) -> None:
        self.log, self.keys, self.delivery = log, list(keys), delivery
        self.handle, self.bury, self.status = handle, bury, status
        self.recovering = True
        self.reclaim_at = 0.0

    def run(self, stop: threading.Event, tick: Callable[[], None] = lambda: None) -> None:
        """Own pending entries first, then what the dead left behind, then new ones; `tick` runs between batches."""
        self.attempt(lambda: self.log.create_group(self.keys, self.delivery.group), stop)
        while not stop.is_set():
            self.attempt(tick, stop)
            for batch in self.batches(stop):
                if not self.attempt(lambda batch=batch: self.deal_with(batch), stop):  # type: ignore[misc]  # bound now
                    self.give_back(batch)
        self.status.set("stopped")

    def attempt(self, step: Callable[[], None], stop: threading.Event) -> bool:
        """Do the step; wait and do it again for as long as something outside it does not answer. False when stopped."""
        while not stop.is_set():
            try:
                step()
            except HOLDS as error:
                self.hold(error, stop)
            else:
                if self.status.state != "running":
                    self.status.set("running")
                return True
        return False

    def give_back(self, batch: list[Entry]) -> None:
        """Told to stop while something did not answer: the entries are not at fault, however often that happens."""
        try:
            self.log.uncount(batch, self.delivery.group, self.delivery.consumer)
        except StreamUnavailable as error:
            logger.warning("%d entries keep a delivery too many: %s", len(batch), error)

    def hold(self, error: AdlineError, stop: threading.Event) -> None:
        self.status.set("held", str(error))
        stop.wait(HOLD_SECONDS)

    def batches(self, stop: threading.Event) -> list[list[Entry]]:
        self.status.beat()
        try:
            redelivered = self.redelivered()
            if redelivered:
                return [[entry] for entry in redelivered]  # one by one: a poisoned entry takes no neighbour along
            batch = self.fresh()
            return [batch] if batch else []
        except StreamUnavailable as error:
            self.recovering = True  # the server may have given us entries in an answer we never saw
            self.hold(error, stop)
            return []

    def redelivered(self) -> list[Entry]:
        """One at a time: being read counts as a delivery, also for those behind a poisoned one."""
        delivery = self.delivery
        if self.recovering:
            pending = self.log.read_pending(delivery.group, delivery.consumer, self.keys, 1)
            self.recovering = bool(pending)
            return pending
        if time.monotonic() < self.reclaim_at:
            return []
        claimed = self.log.claim_idle(delivery.group, delivery.consumer, self.keys, delivery.reclaim_idle_seconds, 1)
        if not claimed:
            self.reclaim_at = time.monotonic() + delivery.reclaim_idle_seconds / 3
        return claimed

    def fresh(self) -> list[Entry]:
        """A batch of what is there, filled up until its first entry has waited for the deadline."""
        delivery = self.delivery
        batch = self.log.read(delivery.group, delivery.consumer, self.keys, delivery.batch_size, BLOCK_MILLISECONDS)
        deadline = time.monotonic() + delivery.batch_deadline_seconds
        while batch and len(batch) < delivery.batch_size:
            try:
                missing = delivery.batch_size - len(batch)
                batch += self.log.read(delivery.group, delivery.consumer, self.keys, missing, 0)
            except StreamUnavailable:
                self.recovering = True  # what is in hand is dealt with; there may be more in an answer we never saw
                break
            if time.monotonic() >= deadline:
                break
            time.sleep(FILL_SECONDS)  # Redis looks at the end of a blocked read ten times a second only
        return batch

    def deal_with(self, batch: list[Entry]) -> None:
        for entry in batch:
            if entry.deliveries > self.delivery.maximum_deliveries:
                self.set_aside(entry, f"set aside after {entry.deliveries - 1} deliveries, none of which was answered")
                batch = [other for other in batch if other is not entry]
        if batch:
            self.handle(batch)
            self.status.handled += len(batch)

    def set_aside(self, entry: Entry, reason: str) -> None:
        logger.error("%s %s: %s", entry.key, entry.id, reason)
        self.log.set_aside(entry, self.delivery.group, reason, self.bury(entry, reason))

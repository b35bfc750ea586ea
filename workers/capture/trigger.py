"""Where a station's triggers come from when adline makes them: an interval, or files that arrive.

A software trigger is told by whoever asks for it; hardware lines and PLCs will be producers here too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from storage.errors import CameraLost, StreamUnavailable
from storage.events import PartTriggered, Trigger, TriggerSource, new_id, now
from storage.stream import EventLog

logger = logging.getLogger(__name__)

CAPTURE = "capture"
AHEAD = 4  # triggers that may wait for a station that cannot keep its interval
RETRY_SECONDS = 0.25
WAIT_SECONDS = 0.01
RECORDING_ENDED = -2  # in place of a number


def software_trigger(
    log: EventLog,
    station: str,
    run_id: UUID,
    *,
    part_id: str | None = None,
    product: str | None = None,
    lot: str | None = None,
    limit: int = 0,
) -> Trigger:
    """Tell that a part is in place; the trigger that was told, with its number: 0 when the run has had `limit`."""
    trigger = Trigger(
        inspection_id=new_id(),
        station=station,
        run_id=run_id,
        trigger_number=0,
        source=TriggerSource.SOFTWARE,
        triggered_at=now(),
        part_id=part_id,
        product=product,
        lot=lot,
    )
    return trigger.model_copy(update={"trigger_number": log.trigger(trigger, limit)})


class Producer:
    """What triggers that adline makes have in common: why there are none now, which is logged when it changes."""

    trouble = ""
    station: str

    def note(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        if trouble:
            logger.warning("station %s: no triggers until it is mended: %s", self.station, trouble)
        else:
            logger.info("station %s: triggers again", self.station)
        self.trouble = trouble


def in_words(error: Exception) -> str:
    """A folder that is gone is told by its name, without the error's number."""
    named = isinstance(error, OSError) and error.filename and error.strerror
    return f"{error.filename}: {error.strerror}" if named else str(error)  # type: ignore[attr-defined]  # an OSError


class IntervalTrigger(Producer):
    """A part every so often; never more than AHEAD triggers before a station that is slower than its interval."""

    ended = ""

    def __init__(
        self,
        log: EventLog,
        station: str,
        run_id: UUID,
        parts_per_minute: float,
        limit: int,
        product: str | None,
        last_number: Callable[[], int] = lambda: 0,
    ) -> None:
        self.last_number = last_number  # of a recording that is played once in a run; 0 is without end
        self.log, self.station, self.run_id, self.limit, self.product = log, station, run_id, limit, product
        self.interval_seconds = 60.0 / parts_per_minute if parts_per_minute else 0.0
        self.key = log.key(PartTriggered, station)

    def run(self, stop: threading.Event) -> None:
        last: int | None = None
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            try:
                if self.log.backlog(self.key, CAPTURE) >= AHEAD:
                    due = time.monotonic() + min(max(WAIT_SECONDS, self.interval_seconds / 10), RETRY_SECONDS)
                    continue
                last = self.last_number() if last is None else last
                if not self.tell(last):
                    return
                self.note("")
            except (StreamUnavailable, CameraLost, OSError) as error:  # the folder may come back, like Redis
                self.note(in_words(error))
                due = time.monotonic() + RETRY_SECONDS
                continue
            due = max(due + self.interval_seconds, time.monotonic() - self.interval_seconds)

    def tell(self, last_number: int) -> bool:
        trigger = Trigger(
            inspection_id=new_id(),
            station=self.station,
            run_id=self.run_id,
            trigger_number=0,
            source=TriggerSource.INTERVAL,
            triggered_at=now(),
            product=self.product,
        )
        number = self.log.trigger(trigger, self.limit, last_number=last_number)
        if number == RECORDING_ENDED:
            self.ended = f"the recording has ended after {last_number} parts; the next start plays it again"
            logger.info("station %s: %s", self.station, self.ended)
        return number > 0


class FileTrigger(Producer):
    """A part for each file that has arrived and is complete; a file once told is not told again."""

    ended = ""

    def __init__(
        self,
        log: EventLog,
        station: str,
        run_id: UUID,
        limit: int,
        product: str | None,
        arrivals: Callable[[], list[Path]],
        poll_seconds: float = 0.1,
    ) -> None:
        self.log, self.station, self.run_id, self.limit, self.product = log, station, run_id, limit, product
        self.arrivals, self.poll_seconds = arrivals, poll_seconds

    def run(self, stop: threading.Event) -> None:
        waiting: list[Path] = []
        while not stop.wait(0 if waiting else self.poll_seconds):
            try:
                waiting = waiting or self.arrivals()
                while waiting and not stop.is_set():
                    if not self.tell(waiting[0]):
                        return
                    waiting.pop(0)
                self.note("")
            except (StreamUnavailable, OSError) as error:  # the folder may come back, like Redis
                self.note(in_words(error))
                stop.wait(RETRY_SECONDS)

    def tell(self, path: Path) -> bool:
        trigger = Trigger(
            inspection_id=new_id(),
            station=self.station,
            run_id=self.run_id,
            trigger_number=0,
            source=TriggerSource.FILE,
            triggered_at=now(),
            part_id=path.stem,
            product=self.product,
            path=str(path),
        )
        return self.log.trigger(trigger, self.limit, arrival=(str(path), arrival_state(path))) != 0


def arrival_state(path: Path) -> str:
    """A file that is written anew is a new part."""
    try:
        status = path.stat()
    except OSError:
        return "gone"
    return f"{status.st_size}-{status.st_mtime_ns}"

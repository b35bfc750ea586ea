"""A challenger's scores, beside the line: after the verdict, in a thread of their own, and never waited for."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.errors import InspectionFailed, StreamUnavailable
from storage.events import FrameCaptured, PartShadowed, PredictionFacts, now
from storage.stream import EventLog
from workers.detectors.detector import Image, Prediction
from workers.inference.champions import Champion
from workers.inference.facts import checked, facts_of

logger = logging.getLogger(__name__)

MOST_BYTES = 32 << 20  # pixels that wait; beyond them a part is not scored by the challenger
MOST_PARTS = 64
BEHIND_MILLISECONDS = 250.0  # parts that had to wait so long: the line needs the processor for itself


@dataclass(frozen=True)
class Watched:
    """A part whose verdict was told, with its pixels."""

    event: FrameCaptured
    images: Sequence[Image]
    challenger: Champion

    @property
    def size_bytes(self) -> int:
        return sum(image.nbytes for image in self.images)


class Shadow:
    """Keeps a few parts for the challenger; what it does not come to is dropped and counted."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.waiting: deque[Watched] = deque()
        self.waiting_bytes = 0
        self.changed = threading.Condition()
        self.busy = False
        self.stopped = False
        self.counts = {"scored": 0, "dropped": 0, "failed": 0}
        self.thread: threading.Thread | None = None

    def offer(self, watched: Watched, waited_milliseconds: float) -> None:
        """Without waiting: the next part comes first."""
        with self.changed:
            full = len(self.waiting) >= MOST_PARTS or self.waiting_bytes + watched.size_bytes > MOST_BYTES
            if waited_milliseconds > BEHIND_MILLISECONDS or (full and self.waiting):
                self.counts["dropped"] += 1
                return
            self.waiting.append(watched)
            self.waiting_bytes += watched.size_bytes
            self.changed.notify_all()
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, name="shadow", daemon=True)
            self.thread.start()

    def run(self) -> None:
        while (watched := self.next()) is not None:
            self.attempt(lambda watched=watched: self.score(watched))  # type: ignore[misc]  # bound now
            with self.changed:
                self.busy = False
                self.changed.notify_all()

    def next(self) -> Watched | None:
        """The part that has waited longest; None when there will be no more."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.stopped)
            if self.stopped:
                return None
            watched = self.waiting.popleft()
            self.waiting_bytes -= watched.size_bytes
            self.busy = True
            return watched

    def attempt(self, step: Callable[[], None]) -> None:
        """The part has its verdict: whatever a challenger does wrong, the line goes on."""
        try:
            step()
            self.counts["scored"] += 1
        except StreamUnavailable:
            self.counts["dropped"] += 1
        except InspectionFailed as error:
            self.counts["failed"] += 1
            logger.warning("the challenger could not score a part: %s", error)
        except Exception:  # of a model that nobody depends on yet
            self.counts["failed"] += 1
            logger.exception("the challenger failed")

    def score(self, watched: Watched) -> None:
        answers = [checked(answer) for answer in watched.challenger.detector.predict(watched.images)]
        facts: list[PredictionFacts] = []
        for frame, answer in zip(watched.event.frames, answers, strict=True):
            if not isinstance(answer, Prediction):
                raise answer
            facts.append(facts_of(frame, answer, watched.challenger))
        event = watched.event
        self.log.publish(
            PartShadowed(
                trigger=event.trigger,
                recipe=event.recipe,
                recipe_id=event.recipe_id,
                frames=event.frames,
                predictions=tuple(facts),
                scored_at=now(),
            )
        )

    def drained(self, timeout_seconds: float) -> bool:
        """Wait until everything offered was dealt with; False when that takes longer."""
        with self.changed:
            return self.changed.wait_for(lambda: not self.waiting and not self.busy, timeout_seconds)

    def stop(self) -> None:
        """What still waits is dropped."""
        with self.changed:
            self.counts["dropped"] += len(self.waiting)
            self.waiting.clear()
            self.waiting_bytes, self.stopped = 0, True
            self.changed.notify_all()

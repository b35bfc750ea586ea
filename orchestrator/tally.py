"""Counts what the line completes, for the terminal and for Prometheus; the table stays the truth."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import Any, cast

from storage.events import InspectionCompleted, Verdict
from storage.stream import EventLog

RECENT = 512  # latencies kept for the percentiles shown
RATE_SECONDS = 30.0
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Seconds in Prometheus' cumulative buckets."""

    def __init__(self) -> None:
        self.counts = [0] * len(BUCKETS)
        self.sum, self.count = 0.0, 0

    def observe(self, seconds: float) -> None:
        self.sum += seconds
        self.count += 1
        for place, bound in enumerate(BUCKETS):
            self.counts[place] += seconds <= bound


class Tally:
    """Follows inspection.completed from the moment the line is up."""

    def __init__(self) -> None:
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.stages: dict[str, Histogram] = {}
        self.latencies: deque[float] = deque(maxlen=RECENT)
        self.times: deque[float] = deque(maxlen=4096)
        self.last: InspectionCompleted | None = None
        self.after = ""
        self.lock = threading.Lock()

    def follow(self, log: EventLog) -> None:
        """Take in what was told since the last time."""
        while True:
            events, self.after = log.follow(InspectionCompleted, self.after)
            with self.lock:
                for event in events:
                    self.count(cast(InspectionCompleted, event))
            if not events:
                return

    def parts(self) -> int:
        """How many were completed since the line is up."""
        with self.lock:
            return sum(self.verdicts.values())

    def count(self, event: InspectionCompleted) -> None:
        self.verdicts[event.station, event.verdict.value] += 1
        self.latencies.append(event.latency_milliseconds)
        self.times.append(event.completed_at.timestamp())
        self.last = event
        for stage, milliseconds in {**event.stage_milliseconds, "total": event.latency_milliseconds}.items():
            self.stages.setdefault(stage, Histogram()).observe(milliseconds / 1000)

    def shown(self) -> dict[str, Any]:
        with self.lock:
            counts = Counter[str]()
            for (_, verdict), count in self.verdicts.items():
                counts[verdict] += count
            ordered = sorted(self.latencies)
            last = self.last.model_dump(mode="json") if self.last else None
            recent = [at for at in self.times if at > time.time() - RATE_SECONDS]
        return {
            "parts": sum(counts.values()),
            "verdicts": {verdict.value: counts[verdict.value] for verdict in Verdict},
            "parts_per_minute": round(60 * rate(recent), 1),
            "latency_ms": {"p50": percentile(ordered, 0.50), "p99": percentile(ordered, 0.99)},
            "last": last,
        }


def rate(times: list[float]) -> float:
    """Parts a second over the times given."""
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def percentile(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None

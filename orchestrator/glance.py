"""What waits for people, looked at in a thread: whoever shows the line waits for no service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.counting import Counting
from storage.errors import DatabaseUnavailable, StreamUnavailable
from storage.stream import EventLog

LOOK_SECONDS = 1.0
STOP_SECONDS = 1.0


class Glance:
    """The queue and the dead letters as they last were; None while it is not known."""

    def __init__(self, log: EventLog, counting: Counting) -> None:
        self.log, self.counting = log, counting
        self.queue: dict[str, Any] | None = None
        self.dead_letters: int | None = None

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Again and again, until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self.look_on, args=(stop,), name="glance", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(STOP_SECONDS)  # it may wait for a service, and holds nothing that must be given back

    def look_on(self, stop: threading.Event) -> None:
        self.look()
        while not stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        try:
            self.dead_letters = self.log.dead_count()
        except StreamUnavailable:
            self.dead_letters = None
        try:
            self.queue = self.counting.counts()
        except DatabaseUnavailable:
            self.queue = None

"""A worker that does nothing, for those who look after workers; each process of Ray imports it by name."""

from __future__ import annotations

import threading

from workers.consumer import Status

BEAT_SECONDS = 0.05


class Idle:
    """Lives until it is stopped."""

    def __init__(self) -> None:
        self.status = Status()

    def run(self, stop: threading.Event) -> None:
        self.status.set("running")
        while not stop.wait(BEAT_SECONDS):
            self.status.beat()

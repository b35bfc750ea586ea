"""Looks after the services while the line runs: brings back what died."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from storage.errors import ServiceFailed

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
SILENT_CHECKS = 15
"""A server under load may miss a probe; one that is alive but silent this often in a row is restarted."""
LONGEST_PAUSE_SECONDS = 30.0


class Service(Protocol):
    """An embedded or an external server."""

    name: str
    restartable: bool

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def is_alive(self) -> bool: ...
    def trouble(self) -> str | None: ...


@dataclass(frozen=True)
class ServiceState:
    """What `status` says of a service."""

    name: str
    healthy: bool
    restarts: int
    text: str


class ServiceMonitor:
    """One thread for each service, so that one that hangs does not hide another."""

    def __init__(
        self,
        services: Sequence[Service],
        check_seconds: float = CHECK_SECONDS,
        silent_checks: int = SILENT_CHECKS,
    ) -> None:
        self._stopping = threading.Event()
        self._watches = [_Watch(service, self._stopping, check_seconds, silent_checks) for service in services]

    def start(self) -> None:
        for watch in self._watches:
            watch.thread.start()

    def stop(self) -> None:
        """Stop watching; to be called before the services are stopped."""
        self._stopping.set()
        for watch in self._watches:
            watch.thread.join()

    def states(self) -> list[ServiceState]:
        return [watch.state for watch in self._watches]


class _Watch:
    def __init__(
        self, service: Service, stopping: threading.Event, check_seconds: float, allowed_silent_checks: int
    ) -> None:
        self.state = ServiceState(service.name, healthy=True, restarts=0, text="running")
        self.thread = threading.Thread(target=self._run, name=f"watch {service.name}", daemon=True)
        self._service, self._stopping, self._check_seconds = service, stopping, check_seconds
        self._silent_checks, self._allowed_silent_checks = 0, allowed_silent_checks
        self._pause_seconds = check_seconds

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_seconds):
            self._check()

    def _check(self) -> None:
        alive = self._service.is_alive()
        trouble = self._service.trouble() if alive else "has ended"
        if trouble is None:
            self._silent_checks, self._pause_seconds = 0, self._check_seconds
            self._say(healthy=True, text=_running(self.state.restarts))
            return
        self._silent_checks += 1
        self._say(healthy=False, text=trouble)
        if self._service.restartable and (not alive or self._silent_checks >= self._allowed_silent_checks):
            self._restart(alive, trouble)

    def _restart(self, alive: bool, trouble: str) -> None:
        logger.warning("%s is restarted: %s", self.state.name, trouble)
        began = time.monotonic()
        try:
            if alive:
                self._service.stop()
            self._service.start()
        except (ServiceFailed, OSError) as error:
            # A full disk, say: try again, ever more rarely, until it can.
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
            self._say(healthy=False, text=f"does not start, next attempt in {self._pause_seconds:.0f} s: {error}")
            logger.error("%s does not start: %s", self.state.name, error)
            return
        self._silent_checks, self._pause_seconds = 0, self._check_seconds
        restarts = self.state.restarts + 1
        self.state = replace(self.state, healthy=True, restarts=restarts, text=_running(restarts))
        logger.warning("%s is back after %.1f s", self.state.name, time.monotonic() - began)

    def _say(self, healthy: bool, text: str) -> None:
        self.state = replace(self.state, healthy=healthy, text=text)


def _running(restarts: int) -> str:
    return f"running, restarted {restarts} time{'s' if restarts != 1 else ''}" if restarts else "running"

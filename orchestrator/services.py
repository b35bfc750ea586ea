"""The services of a line, embedded or given by URL, for as long as somebody uses them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.embedded import EmbeddedService
from orchestrator.external import ExternalPostgres, ExternalRedis
from orchestrator.lock import open_lock, try_lock
from orchestrator.monitor import Service
from orchestrator.postgres import EmbeddedPostgres
from orchestrator.valkey import EmbeddedValkey


@dataclass(frozen=True)
class Services:
    """Where the line's records and events are; a URL that was not asked for is empty."""

    database_url: str
    stream_url: str
    all: tuple[Service, ...]
    auditor_url: str = ""


@contextmanager
def services(
    home: Path,
    database_url: str | None = None,
    stream_url: str | None = None,
    *,
    database: bool = True,
    stream: bool = True,
) -> Iterator[Services]:
    """Have Postgres and Redis running; what is embedded is stopped when its last user leaves."""
    postgres = (ExternalPostgres(database_url) if database_url else EmbeddedPostgres(home)) if database else None
    valkey = (ExternalRedis(stream_url) if stream_url else EmbeddedValkey(home)) if stream else None
    wanted = tuple(service for service in (postgres, valkey) if service)
    with _used(wanted):
        yield Services(
            database_url=postgres.url() if postgres else "",
            stream_url=valkey.url if valkey else "",
            all=wanted,
            auditor_url=postgres.auditor_url() if postgres else "",
        )


@contextmanager
def _used(wanted: Sequence[Service]) -> Iterator[None]:
    uses = [_Use(service) for service in wanted]
    with ExitStack() as endings:
        for use in uses:
            endings.callback(use.end)  # whatever becomes of the others
        with ThreadPoolExecutor(max_workers=2) as pool:
            for started in [pool.submit(use.begin) for use in uses]:
                started.result()
        yield


class _Use:
    """One user of a service. Users are counted by shared locks, which a killed process gives up by dying."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._users = _users_lock(service) if isinstance(service, EmbeddedService) else None

    def begin(self) -> None:
        if self._users:
            # Waits only while the last user before us is stopping the service.
            fcntl.flock(self._users, fcntl.LOCK_SH)
        self._service.start()

    def end(self) -> None:
        if not self._users:
            return
        with self._users as users:
            if try_lock(users, fcntl.LOCK_EX):
                self._service.stop()


def _users_lock(service: EmbeddedService) -> IO[str]:
    return open_lock(service.home / "run" / f"{service.name}.users")

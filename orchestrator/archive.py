"""The records and events of a line, for commands: also while the line is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from orchestrator.configuration import Loaded
from orchestrator.services import Services, services
from storage.database import Database, check_schema
from storage.errors import NothingRecorded
from storage.overview import overview
from storage.stream import EventLog


@contextmanager
def records(loaded: Loaded) -> Iterator[Services]:
    """Have the database running; what is embedded is started for as long as needed, and never made."""
    url = loaded.settings.database.url
    if not url:
        require(loaded.home, loaded.home / "postgres" / "data")
    with services(loaded.home, url, stream=False) as used:
        yield used


@contextmanager
def reading(loaded: Loaded) -> Iterator[Session]:
    """One transaction that cannot change anything, on a schema this version knows."""
    with records(loaded) as used:
        check_schema(used.database_url)
        database = Database(used.database_url, pool_size=2)
        try:
            with database.begin() as session:
                session.execute(text("SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ"))
                yield session
        finally:
            database.close()


@contextmanager
def writing(loaded: Loaded) -> Iterator[Session]:
    """One transaction on a schema this version knows, beside a running line or without one."""
    with records(loaded) as used:
        check_schema(used.database_url)
        database = Database(used.database_url, pool_size=2)
        with closing(database), database.begin() as session:
            yield session


@contextmanager
def events(loaded: Loaded) -> Iterator[EventLog]:
    """Have the streams at hand; embedded ones are started for as long as needed, and never made."""
    url = loaded.settings.stream.url
    if not url:
        require(loaded.home, loaded.home / "valkey")
    with services(loaded.home, stream_url=url, database=False) as used:
        log = EventLog(used.stream_url)
        try:
            yield log
        finally:
            log.close()


def require(home: Path, folder: Path) -> None:
    if not folder.exists():
        raise NothingRecorded(home)


def stopped_status(loaded: Loaded) -> dict[str, Any]:
    """What the records tell of a line that does not run."""
    known = {"line": loaded.settings.line.name, "home": str(loaded.home)}
    try:
        with reading(loaded) as session:
            return {"state": "stopped", **known, **overview(session)}
    except NothingRecorded:
        return {"state": "never started", **known}

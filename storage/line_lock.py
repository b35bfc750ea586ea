"""A lock in Postgres that says which line runs on a database; it ends with the connection that holds it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from storage.database import CONNECTION, sqlalchemy_url, unavailable

KEY: Final = 0xAD11F
HELD: Final = text("SELECT pg_try_advisory_lock(:key)")
STILL_HELD: Final = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted "
    "AND classid = 0 AND objid = :key)"
)
HOLDER: Final = text(
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' "
    "AND l.granted AND l.classid = 0 AND l.objid = :key AND a.datname = current_database()"
)
LONGEST_NAME: Final = 63  # of an application, in Postgres


class LineLock:
    """DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, url: str, owner: str) -> None:
        self.url = sqlalchemy_url(url)
        named = CONNECTION | {"application_name": f"adline {owner}"[:LONGEST_NAME]}
        self.engine = create_engine(self.url, connect_args=named, isolation_level="AUTOCOMMIT")
        self.connection: Connection | None = None

    def hold(self) -> bool:
        """Take the lock, or see that it is still held; False while another line has it."""
        try:
            if self.connection is not None and self.connection.scalar(STILL_HELD, {"key": KEY}):
                return True
            self.connection = self.connection or self.engine.connect()
            return bool(self.connection.scalar(HELD, {"key": KEY}))
        except DBAPIError as error:
            self.let_go()
            raise unavailable(self.url, error) from error

    def holder(self) -> str:
        assert self.connection is not None, "asked after a refusal"
        return str(self.connection.scalar(HOLDER, {"key": KEY}) or "it has just ended")

    def let_go(self) -> None:
        if self.connection is not None:
            self.connection.invalidate()
            self.connection.close()
            self.connection = None

    def close(self) -> None:
        self.let_go()
        self.engine.dispose()

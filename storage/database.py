"""The connection to Postgres, and its schema's version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import alembic.command
import alembic.config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from storage import embeddings
from storage.errors import DatabaseUnavailable, SchemaOutdated

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
# Of a connection that was lost while a query ran, the system tells after so long; without it, after two hours.
CONNECTION: Final = {
    "connect_timeout": 5,
    "application_name": "adline",
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
LOCK_MILLISECONDS = 20_000
"""Longer than this nothing waits for somebody else's lock: it is an outage (SQLSTATE 55P03) and tried again. A worker
that waits without end would be taken for one that is stuck."""
LIMIT_EXCEEDED: Final = "54"  # SQLSTATE class: the row is at fault (a key too long for its index), not the server
READ_ONLY: Final = "25006"  # a server in recovery, or a standby that has not taken over yet
FORGETTABLE: Final = text("SET LOCAL synchronous_commit = off")
MIGRATION_LOCK = 0xAD11E  # advisory lock: two programs never migrate at once


class Database:
    """A pool of connections. `with database.begin() as session` is one transaction, committed at its end."""

    def __init__(self, url: str, pool_size: int = 8) -> None:
        self.url = sqlalchemy_url(url)
        self.engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,  # what overflows is closed after each use: under load Postgres does little but fork
            pool_timeout=10,
            connect_args=CONNECTION,
        )
        # Not among the connection's options: those of the URL would be overridden, and poolers refuse them.
        event.listen(self.engine, "connect", limit_waiting)

    @contextmanager
    def begin(self, *, durable: bool = True) -> Iterator[Session]:
        """One transaction; DatabaseUnavailable when Postgres does not answer or has no room to write.

        Not durable: Postgres may forget it should it crash within the next second, and need not wait for the disk.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                if not durable:
                    session.execute(FORGETTABLE)
                yield session
        except DBAPIError as error:
            if not is_outage(error):
                raise
            raise unavailable(self.url, error) from error
        except PoolTimeout as error:
            raise unavailable(self.url, error) from error

    def close(self) -> None:
        self.engine.dispose()


def limit_waiting(connected: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    with closing(connected.cursor()) as cursor:
        cursor.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}")
    connected.commit()


def sqlalchemy_url(url: str) -> str:
    """Accept what people write (postgres://…, postgresql://…) and name the driver."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg2://" + url[len(prefix) :]
    return url


def is_outage(error: DBAPIError) -> bool:
    """Whether the same may work later: the server is at fault, and not what was asked of it."""
    code = getattr(error.orig, "pgcode", None) or ""
    if error.connection_invalidated or code == READ_ONLY:
        return True
    return isinstance(error, OperationalError | InterfaceError) and not code.startswith(LIMIT_EXCEEDED)


def unavailable(url: str, error: Exception) -> DatabaseUnavailable:
    """Say which server, without its password, and what it said."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    return DatabaseUnavailable(f"{make_url(url).render_as_string(hide_password=True)}: {said[0] if said else error!r}")


def migrate(url: str) -> None:
    """Bring the schema to the version this code needs; a newer one is refused."""
    with connection(url) as connected, connected.begin():
        connected.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        refuse_newer_schema(connected)
        alembic.command.upgrade(alembic_config(connected), "head")
        # An administrator may have made the role, or the extension, since.
        connected.execute(text("CALL furnish_auditor()"))
        connected.execute(text("CALL furnish_embeddings()"))
        embeddings.move(connected)


def downgrade(url: str, revision: str) -> None:
    """Take the schema back to a revision (`base` is empty)."""
    with connection(url) as connected, connected.begin():
        connected.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        alembic.command.downgrade(alembic_config(connected), revision)


def check_schema(url: str) -> str:
    """The schema's revision when it is the one this code needs; SchemaOutdated with both revisions when not."""
    with connection(url) as connected:
        refuse_newer_schema(connected)
        found, wanted = current_revision(connected), head_revision()
    if found != wanted:
        raise SchemaOutdated(
            f"the database is at {found or 'no revision'}, this version needs {wanted}: run `adline db migrate`"
        )
    return wanted


def refuse_newer_schema(connected: Connection) -> None:
    found = current_revision(connected)
    if found is None:
        return
    try:
        ScriptDirectory(str(MIGRATIONS)).get_revision(found)
    except CommandError as error:
        raise SchemaOutdated(
            f"the database is at revision {found}, newer than this version of adline knows ({head_revision()}): "
            "install the newer version, or restore a backup"
        ) from error


def current_revision(connected: Connection) -> str | None:
    return MigrationContext.configure(connected).get_current_revision()


def head_revision() -> str:
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert head is not None, "migrations/ holds at least one revision"
    return head


def alembic_config(connected: Connection) -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connected
    return config


@contextmanager
def connection(url: str) -> Iterator[Connection]:
    """One connection outside any pool, for schema work."""
    engine = create_engine(sqlalchemy_url(url), connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connected:
            yield connected
    except OperationalError as error:
        raise unavailable(url, error) from error
    finally:
        engine.dispose()

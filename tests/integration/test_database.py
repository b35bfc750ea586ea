"""The connection to Postgres: every way it can fail to answer is one error, and afterwards it works again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from orchestrator.postgres import SUPERUSER, EmbeddedPostgres
from storage.database import Database, check_schema, downgrade, migrate
from storage.errors import DatabaseUnavailable, SchemaOutdated


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres that a test may kill."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("own"), durable=False)
    server.start()
    yield server
    server.stop()


def works(database: Database) -> bool:
    with database.begin() as session:
        return bool(session.scalar(text("SELECT 1")) == 1)


def end_my_connection(database: Database, server: EmbeddedPostgres) -> None:
    """In the middle of a transaction, as an administrator does."""
    with database.begin() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        administrator = Database(server.url("postgres", SUPERUSER))
        with administrator.begin() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        administrator.close()
        session.execute(text("SELECT 1"))


def test_a_connection_that_is_ended_mid_transaction_is_an_outage_and_the_next_one_works(
    database: Database, postgres_server: EmbeddedPostgres
) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"\*\*\*.*(terminat|closed)"):
        end_my_connection(database, postgres_server)
    assert works(database)


def test_a_server_killed_mid_transaction_is_an_outage_until_it_is_back(own_server: EmbeddedPostgres) -> None:
    database = Database(own_server.url())
    with database.begin() as session:
        session.execute(text("SET LOCAL synchronous_commit = on"))  # this server is set up to forget
        session.execute(text("CREATE TABLE things (number int)"))
    with pytest.raises(DatabaseUnavailable), database.begin() as session:
        session.execute(text("INSERT INTO things VALUES (1)"))
        process = own_server.process()
        assert process is not None
        for child in process.children():
            os.kill(child.pid, signal.SIGKILL)
        process.kill()
        process.wait(10)
    with pytest.raises(DatabaseUnavailable):
        works(database)
    own_server.start()
    assert all(works(database) for _ in range(3)), "a dead connection was left in the pool"
    with database.begin() as session:
        assert session.scalar(text("SELECT count(*) FROM things")) == 0
    database.close()


def test_a_pool_that_stays_busy_is_an_outage(database_url: str) -> None:
    database = Database(database_url, pool_size=2)
    database.engine.pool._timeout = 0.05  # type: ignore[attr-defined]  # ten seconds are too long for a test
    with database.begin() as one, database.begin() as two:
        one.execute(text("SELECT 1"))
        two.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable):
            works(database)
    assert works(database)
    database.close()


def test_a_lock_that_somebody_keeps_is_an_outage_and_no_wait_without_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.database.LOCK_MILLISECONDS", 200)
    database, other = Database(database_url), Database(database_url)
    with other.begin() as keeper:
        keeper.execute(text("LOCK TABLE verdicts IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DatabaseUnavailable, match="lock timeout"), database.begin() as session:
            session.execute(text("SELECT count(*) FROM verdicts"))
        with database.begin() as session:
            assert session.scalar(text("SHOW lock_timeout")) == "200ms"
    with database.begin() as session:
        assert session.scalar(text("SELECT count(*) FROM verdicts")) == 0
    database.close()
    other.close()


@pytest.mark.parametrize(
    ("code", "outage"),
    [
        *((code, True) for code in ("53100", "53300", "57P01", "57P03", "40P01", "25006", "58030", "55P03")),
        *((code, False) for code in ("54000", "23505", "22003", "42501")),
    ],
)
def test_only_what_may_mend_by_itself_is_an_outage(database: Database, code: str, outage: bool) -> None:
    raising = text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
    expected = DatabaseUnavailable if outage else (OperationalError, IntegrityError, ProgrammingError, Exception)
    with pytest.raises(expected) as caught, database.begin() as session:
        session.execute(raising)
    assert isinstance(caught.value, DatabaseUnavailable) is outage
    assert works(database)


def test_an_error_of_the_block_itself_is_raised_as_it_is(database: Database) -> None:
    with pytest.raises(KeyError), database.begin():
        raise KeyError("mine")


@pytest.mark.parametrize("url", ["postgresql://u:secret@127.0.0.1:1/x", "postgresql://u:secret@/x?host=/nowhere"])
def test_a_server_that_is_not_there_is_named_without_its_password(url: str) -> None:
    database = Database(url)
    with pytest.raises(DatabaseUnavailable) as caught:
        works(database)
    assert "***" in str(caught.value) and "secret" not in str(caught.value)
    with pytest.raises(DatabaseUnavailable):
        migrate(url)


def test_the_schema_goes_down_and_up_again_and_an_old_or_newer_one_is_named(database_url: str) -> None:
    assert check_schema(database_url)
    downgrade(database_url, "base")
    with pytest.raises(SchemaOutdated, match="no revision"):
        check_schema(database_url)
    migrate(database_url)
    migrate(database_url)
    assert check_schema(database_url)
    database = Database(database_url)
    with database.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaOutdated, match="newer"):
        migrate(database_url)
    database.close()

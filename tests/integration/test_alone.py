"""One line to a database and to a Redis."""

from __future__ import annotations

import os

import psutil
import pytest
from sqlalchemy import text

from orchestrator.alone import is_gone, owner
from storage.database import Database
from storage.errors import DatabaseUnavailable
from storage.line_lock import LineLock
from storage.stream import EventLog


def test_streams_belong_to_one_line_until_it_lets_go(log: EventLog) -> None:
    assert log.claim("one", 60, lambda other: False) is None
    assert log.claim("one", 60, lambda other: False) is None, "prolonged"
    assert log.claim("two", 60, lambda other: False) == "one"
    log.release("two")
    assert log.claim("two", 60, lambda other: False) == "one", "nobody gives up what is another's"
    log.release("one")
    assert log.claim("two", 60, lambda other: False) is None


def test_streams_of_a_line_that_cannot_come_back_are_not_waited_for(log: EventLog) -> None:
    log.claim("one", 60, lambda other: False)
    assert log.claim("two", 60, lambda other: other == "one") is None


def test_a_process_of_this_machine_is_gone_when_it_or_its_beginning_is_another() -> None:
    mine = owner("line-1")
    assert not is_gone(mine)
    assert is_gone(mine.replace("begun ", "begun 1"))
    assert is_gone(mine.replace(f"process {os.getpid()}", f"process {max(psutil.pids()) + 100_000}"))
    assert not is_gone("line-1 on another-host, process 1, begun 1.00"), "nobody here can know"
    assert not is_gone("whatever")


@pytest.fixture
def locks(database: Database) -> list[LineLock]:
    return [LineLock(database.url, f"line-{number} on host, process {number}") for number in (1, 2)]


def test_a_database_belongs_to_one_line_until_it_lets_go(locks: list[LineLock]) -> None:
    one, two = locks
    assert one.hold() and one.hold()
    assert not two.hold()
    assert two.holder() == "adline line-1 on host, process 1"
    one.close()
    assert two.hold()
    two.close()


def test_a_lock_that_was_lost_with_its_connection_is_taken_anew(locks: list[LineLock], database: Database) -> None:
    one, _ = locks
    assert one.hold()
    with database.begin() as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
            )
        )
    with pytest.raises(DatabaseUnavailable):
        one.hold()
    assert one.hold()
    one.close()

"""One line to a database and to a Redis: two would tell each other's parts and give up what the other has in hand.

A folder's own servers are its line's alone; those given by URL are claimed for as long as the line runs.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil

from orchestrator.settings import Settings
from storage.database import Database
from storage.errors import AdlineError, ServiceFailed
from storage.line_lock import LineLock
from storage.stream import EventLog

logger = logging.getLogger(__name__)

PROLONG_SECONDS = 5.0
CLAIM_SECONDS = 20.0
"""After so long without a word from it a line is taken to be gone; one that was killed on this machine at once."""


@contextmanager
def alone(settings: Settings, database: Database, log: EventLog) -> Iterator[None]:
    """Have the given servers for this line alone while the block runs; ServiceFailed names who has them."""
    claims: list[Callable[[], None]] = []
    with ExitStack() as stack:
        if settings.database.url:
            claims.append(claimed_database(settings.line.name, database, stack))
        if settings.stream.url:
            claims.append(claimed_stream(settings.line.name, log, stack))
        if claims:
            stack.enter_context(prolonged(claims))
        yield


def claimed_database(line: str, database: Database, stack: ExitStack) -> Callable[[], None]:
    lock = LineLock(database.url, owner(line))
    stack.callback(lock.close)

    def claim() -> None:
        if not lock.hold():
            raise ServiceFailed(
                f"database.url: another line runs on this database ({lock.holder()}); "
                "give each line a database of its own, several on one server are fine"
            )

    claim()
    return claim


def claimed_stream(line: str, log: EventLog, stack: ExitStack) -> Callable[[], None]:
    me = owner(line)

    def claim() -> None:
        other = log.claim(me, CLAIM_SECONDS, is_gone)
        if other is not None:
            raise ServiceFailed(
                f"stream.url: another line runs on this Redis ({other}); give each line a database of its own, such as "
                f"redis://host:6379/1. One that was killed on another machine is forgotten after {CLAIM_SECONDS:g} s"
            )

    claim()
    stack.callback(released, log, me)
    return claim


def released(log: EventLog, me: str) -> None:
    """A server that is away forgets by itself."""
    try:
        log.release(me)
    except ServiceFailed as error:
        logger.warning("the claim on Redis is left to end by itself: %s", error)


@contextmanager
def prolonged(claims: list[Callable[[], None]]) -> Iterator[None]:
    """Claim again and again, since a server that was restarted has forgotten it."""
    stop = threading.Event()

    def prolong() -> None:
        while not stop.wait(PROLONG_SECONDS):
            for claim in claims:
                try:
                    claim()
                except AdlineError as error:
                    logger.error("this line's claim is not prolonged: %s", error)

    thread = threading.Thread(target=prolong, name="claims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def owner(line: str) -> str:
    """Who has it, for people and for `is_gone`."""
    mine = psutil.Process()
    return f"{line} on {platform.node()}, process {os.getpid()}, begun {mine.create_time():.2f}"


def is_gone(other: str) -> bool:
    """Whether it was a process of this machine that is no more."""
    said, _, rest = other.rpartition(f" on {platform.node()}, process ")
    pid, _, begun = rest.partition(", begun ")
    if not said or not pid.isdigit():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != begun
    except psutil.NoSuchProcess:
        return True

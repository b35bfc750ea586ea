"""Many people at the queue of a running line at once, some of whom stall, crash or answer late.

What came of it is counted from what the clients were answered and from the tables, not by the queue.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np

from orchestrator.archive import records
from orchestrator.bench_client import Answers, Client
from orchestrator.configuration import Loaded
from orchestrator.running import RunningLine, require_line
from orchestrator.users import add_token, console
from storage import bench_rows, people
from storage.bench_rows import Ground, LabelFound
from storage.database import Database
from storage.events import new_id
from storage.people_rows import Role

WATCH_SECONDS = 0.25
ALONE = 300  # claims in each order
Say = Callable[[str], None]


def bench_queue(
    loaded: Loaded, clients: int, reviews: int, rows: int, waiting: int, seed: int, say: Say
) -> dict[str, Any]:
    """Fill the queue, let the clients decide it, and count. rows: decided before; waiting: open and not for them."""
    line = require_line(loaded)
    line.status()
    name = f"bench-{new_id().hex[-8:]}"
    with records(loaded) as used:
        database = Database(used.database_url, pool_size=4)
        try:
            with database.begin() as session:
                ground = bench_rows.prepare(session, name, platform.node())
                aside = bench_rows.prepare(session, f"{name}-aside", platform.node())
            fill(database, ground, aside, reviews, rows, waiting, say)
            with tokens(database, name, clients) as known:
                say("one person claims alone, without a filter")
                alone = claims_alone(line, *known[0])
                began = time.monotonic()
                answers = work(line, database, ground, known, reviews, seed, say)
                seconds = time.monotonic() - began
            return report(database, ground, answers, reviews) | {
                "claim_alone_ms": in_milliseconds(alone),
                "clients": clients,
                "rows": rows,
                "seconds": round(seconds, 1),
            }
        finally:
            with database.begin() as session:
                for station in (name, f"{name}-aside"):
                    bench_rows.withdraw(session, station)
            database.close()


def fill(database: Database, ground: Ground, aside: Ground, reviews: int, rows: int, waiting: int, say: Say) -> None:
    for place, first, count, decided in (
        (aside, 1, rows, True),
        (aside, rows + 1, waiting, False),
        (ground, rows + waiting + 1, reviews, False),
    ):
        for start, end in bench_rows.chunks(first, count):
            say(f"filling: {'decided' if decided else 'open'} reviews up to {end}")
            with database.begin() as session:
                bench_rows.fill(session, place, start, end, decided)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE reviews, labels, inspections, frames")


@contextmanager
def tokens(database: Database, name: str, clients: int) -> Iterator[Sequence[tuple[str, str]]]:
    """A user with a token for each client, for as long as they work."""
    names = [f"{name}-{number}" for number in range(1, clients + 1)]
    with database.begin() as session:
        for one in names:
            people.add(session, one, Role.OPERATOR, console(), None)
        known = [(one, add_token(session, one, "bench", 1)) for one in names]
    try:
        yield known
    finally:
        with database.begin() as session:
            for one in names:
                people.remove(session, one, console())


def claims_alone(line: RunningLine, person: str, token: str, claims: int = ALONE) -> list[float]:
    """Seconds of one person's claims among all that is open, in both orders of the table; all is given back."""
    client = Client(line.url, None, person, token, Random(0), threading.Event())
    try:
        leases = [lease for policy in ("oldest", "uncertain") for _ in range(claims) if (lease := client.claim(policy))]
        for lease in leases:
            client.release(lease, {})
    finally:
        client.connection.close()
    return client.answers.claim_seconds


def in_milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    found = np.percentile(np.array(seconds) * 1000, (50, 99)) if seconds else (0.0, 0.0)
    return {name: round(float(one), 2) for name, one in zip(("p50", "p99"), found, strict=True)}


def work(
    line: RunningLine,
    database: Database,
    ground: Ground,
    known: Sequence[tuple[str, str]],
    reviews: int,
    seed: int,
    say: Say,
) -> list[Answers]:
    """Until nothing is open any more, by the table."""
    done = threading.Event()
    workers = [
        Client(line.url, ground.station, person, token, Random(f"{seed} {number}"), done)
        for number, (person, token) in enumerate(known)
    ]
    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(worker.work) for worker in workers]
        try:
            while not any(future.done() for future in futures):
                with database.begin() as session:
                    left = bench_rows.still_open(session, ground.station)
                say(f"{reviews - left} of {reviews} decided")
                if not left:
                    break
                time.sleep(WATCH_SECONDS)
        finally:
            done.set()
        return [future.result() for future in futures]


def report(database: Database, ground: Ground, answers: Sequence[Answers], reviews: int) -> dict[str, Any]:
    with database.begin() as session:
        found = bench_rows.labels_of(session, ground.station)
        undecided = bench_rows.undecided(session, ground.station)
    return {
        "reviews": reviews,
        "decided": reviews - undecided,
        "double": doubles(found),
        "foreign": foreign(found, answers),
        "lost": undecided + unrecorded(found, answers),
        "expired_returned": returned(answers),
        "claim_ms": in_milliseconds([one for client in answers for one in client.claim_seconds]),
        "refused": sum(client.refused for client in answers),
        "unanswered": sum(client.unanswered for client in answers),
    }


def doubles(found: Sequence[LabelFound]) -> int:
    """Decisions beyond the one that each question was to have."""
    asked = Counter((label.review_id, label.round, label.opinion) for label in found)
    return sum(asked.values()) - len(asked)


def foreign(found: Sequence[LabelFound], answers: Sequence[Answers]) -> int:
    """Decisions without a claim that this person was answered, or after its lease had ended."""
    claims = {(client.person, review, token) for client in answers for review, token in client.claims}
    return sum(
        (label.decided_by, str(label.review_id), label.token) not in claims or label.decided_at > label.lease_until
        for label in found
    )


def unrecorded(found: Sequence[LabelFound], answers: Sequence[Answers]) -> int:
    """Decisions that a client was told are on record, and that are not."""
    there = {str(label.id) for label in found}
    return sum(label not in there for client in answers for label in client.accepted)


def returned(answers: Sequence[Answers]) -> int:
    """Leases that were let run out, after which the review was claimed anew."""
    last: dict[str, int] = {}
    for client in answers:
        for review, token in client.claims:
            last[review] = max(token, last.get(review, 0))
    return sum(last[review] > token for client in answers for review, token in client.abandoned)

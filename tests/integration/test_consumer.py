"""The loop of every worker: killed, held, poisoned, cut off, and still each entry is dealt with once."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.valkey import EmbeddedValkey
from storage.database import Database
from storage.errors import DiskFull, StopAsked
from storage.events import Event, FrameCaptured, InspectionDecided
from storage.stream import Entry, EventLog
from tests.facts import Plant
from tests.integration import doubling
from workers.consumer import Consumer, Delivery, Status

PATIENCE_SECONDS = 60.0


class Worker:
    """A handler that notes what it was given and acknowledges it, unless a test says otherwise."""

    def __init__(self, log: EventLog, **delivery: object) -> None:
        self.log, self.batches, self.status = log, list[list[int]](), Status()
        self.crashed = False
        self.stop, self.trouble = threading.Event(), dict[int, Callable[[], None]]()
        facts = {"group": "inference", "consumer": "a", "reclaim_idle_seconds": 0.2, **delivery}
        self.consumer = Consumer(
            log,
            [log.key(FrameCaptured)],
            Delivery(**facts),  # type: ignore[arg-type]  # facts by name
            self.handle,
            self.bury,
            self.status,
        )

    def handle(self, entries: list[Entry]) -> None:
        numbers = [entry.event.trigger.trigger_number for entry in entries]  # type: ignore[attr-defined]  # captured
        self.batches.append(numbers)
        for number in numbers:
            if number in self.trouble:
                self.trouble[number]()
        self.log.publish_and_acknowledge([], entries, "inference")

    def bury(self, entry: Entry, reason: str) -> list[Event]:
        assert isinstance(entry.event, FrameCaptured)
        return [InspectionDecided.error(entry.event, reason)]

    def run_until(self, done: Callable[[], bool]) -> None:
        """Until that holds, or until the worker dies of its handler."""
        thread = threading.Thread(target=self.live)
        thread.start()
        wait_until(lambda: done() or self.crashed)
        self.stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the stop went unnoticed"

    def live(self) -> None:
        try:
            self.consumer.run(self.stop)
        except MemoryError:
            self.crashed = True

    @property
    def done(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def tell(log: EventLog, plant: Plant, count: int) -> str:
    log.publish(*(plant.captured(plant.trigger(number)) for number in range(1, count + 1)))
    return log.key(FrameCaptured)


def deliveries(log: EventLog) -> dict[int, int]:
    """By trigger number, of what is pending."""
    key = log.key(FrameCaptured)
    entries: Any = log.client.xrange(key)
    rows: Any = log.client.xpending_range(key, "inference", min="-", max="+", count=1000)
    bodies, found = dict(entries), {}
    for row in rows:
        body = FrameCaptured.model_validate_json(bodies[row["message_id"]][b"body"])
        found[body.trigger.trigger_number] = row["times_delivered"]
    return found


def crash() -> None:
    raise MemoryError("the process ends here")


def test_a_batch_takes_what_is_there_and_no_more_than_its_size(log: EventLog, plant: Plant) -> None:
    key = tell(log, plant, 10)
    worker = Worker(log, batch_size=4)
    worker.run_until(lambda: log.backlog(key, "inference") == 0)
    assert worker.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert (worker.status.handled, worker.status.state) == (10, "stopped")


def test_a_batch_that_is_not_full_waits_for_its_deadline(log: EventLog, plant: Plant) -> None:
    worker = Worker(log, batch_size=3, batch_deadline_seconds=PATIENCE_SECONDS)
    key = tell(log, plant, 1)

    def late() -> None:
        wait_until(lambda: any(state.pending for state in log.group_states(key)))
        log.publish(plant.captured(plant.trigger(2)), plant.captured(plant.trigger(3)))

    telling = threading.Thread(target=late)
    telling.start()
    worker.run_until(lambda: len(worker.done) == 3)
    telling.join()
    assert worker.batches == [[1, 2, 3]]


def test_a_stop_is_noticed_while_there_is_nothing_to_do(log: EventLog) -> None:
    worker = Worker(log)
    worker.run_until(lambda: worker.status.beat_at > 0)
    assert worker.status.state == "stopped"


def test_what_does_not_answer_is_waited_out_and_is_no_delivery(log: EventLog, plant: Plant) -> None:
    key, tries = tell(log, plant, 3), []

    def full() -> None:
        tries.append(deliveries(log)[2])
        if len(tries) < 4:
            raise DiskFull(Path("/images"), 0, 1)

    worker = Worker(log, maximum_deliveries=1)
    worker.consumer.hold = lambda error, stop: worker.status.set("held", str(error))  # type: ignore[method-assign]
    worker.trouble[2] = full
    worker.run_until(lambda: log.backlog(key, "inference") == 0)
    assert tries == [1, 1, 1, 1]
    assert (worker.done, log.dead_count()) == ([1, 2, 2, 2, 2, 3], 0)


def test_being_stopped_while_held_is_no_delivery_however_often(log: EventLog, plant: Plant) -> None:
    tell(log, plant, 3)

    def full() -> None:
        raise DiskFull(Path("/images"), 0, 1)

    for _ in range(4):
        worker = Worker(log, maximum_deliveries=2, batch_size=3)
        worker.trouble[1] = full
        worker.run_until(lambda: worker.status.state == "held")  # noqa: B023 - called within the round
        assert deliveries(log)[1] == 0
    worker = Worker(log, maximum_deliveries=2)
    worker.run_until(lambda: log.backlog(log.key(FrameCaptured), "inference") == 0)
    assert (sorted(worker.done), log.dead_count()) == ([1, 2, 3], 0)


def test_a_handler_that_notices_the_stop_leaves_its_entry_for_the_next_start(log: EventLog, plant: Plant) -> None:
    tell(log, plant, 1)
    worker = Worker(log)

    def wait() -> None:
        worker.stop.wait(PATIENCE_SECONDS)
        raise StopAsked

    worker.trouble[1] = wait
    worker.run_until(lambda: bool(worker.batches))
    assert deliveries(log) == {1: 0}


def test_an_unforeseen_error_ends_the_worker_and_leaves_the_entry(log: EventLog, plant: Plant) -> None:
    tell(log, plant, 2)
    worker = Worker(log, batch_size=2)
    worker.trouble[2] = crash
    with pytest.raises(MemoryError):
        worker.consumer.run(worker.stop)
    assert deliveries(log) == {1: 1, 2: 1}


def test_poison_is_set_aside_as_error_and_its_neighbours_are_not_harmed(log: EventLog, plant: Plant) -> None:
    key, harm, starts = tell(log, plant, 8), dict.fromkeys(range(1, 9), 0), 0
    while log.backlog(key, "inference"):
        worker = Worker(log, batch_size=8, maximum_deliveries=4)
        worker.trouble[3] = crash
        worker.run_until(lambda: log.backlog(key, "inference") == 0)
        harm |= deliveries(log)
        starts += 1
    assert starts == 5
    assert harm[3] == 4
    assert all(count <= 1 for number, count in harm.items() if number != 3), harm
    (letter,) = log.dead_letters()
    assert letter.deliveries == 5 and "after 4 deliveries" in letter.reason
    log.create_group([log.key(InspectionDecided)], "record")
    (entry,) = log.read("record", "r", [log.key(InspectionDecided)], 10, 10)
    assert isinstance(entry.event, InspectionDecided)
    assert (entry.event.trigger.trigger_number, entry.event.verdict) == (3, "ERROR")


def test_what_a_dead_worker_had_in_hand_is_taken_over(log: EventLog, plant: Plant) -> None:
    key = tell(log, plant, 5)
    log.create_group([key], "inference")
    log.read("inference", "dead", [key], 3, 10)
    worker = Worker(log, consumer="b", reclaim_idle_seconds=0.1)
    worker.run_until(lambda: log.backlog(key, "inference") == 0)
    assert sorted(worker.done) == [1, 2, 3, 4, 5]


def test_a_group_that_redis_forgot_is_made_again_while_the_worker_runs(log: EventLog, plant: Plant) -> None:
    worker = Worker(log)
    key = log.key(FrameCaptured)

    def forget_and_tell() -> None:
        wait_until(lambda: bool(log.group_states(key)))
        log.client.flushall()
        log.publish(plant.captured(plant.trigger(7)))

    telling = threading.Thread(target=forget_and_tell)
    telling.start()
    worker.run_until(lambda: worker.done == [7])
    telling.join()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "home")
    server.start()
    yield server
    server.stop()


def test_a_valkey_that_is_killed_and_comes_back_costs_nothing(own_server: EmbeddedValkey, plant: Plant) -> None:
    log, worker_log = EventLog(own_server.url), EventLog(own_server.url)
    key = tell(log, plant, 6)
    worker = Worker(worker_log, maximum_deliveries=2)

    def kill() -> None:
        del worker.trouble[3]
        process = own_server.process()
        assert process is not None
        process.kill()
        process.wait(10)

    def restart() -> None:
        wait_until(lambda: worker.status.state == "held")
        own_server.start()

    worker.trouble[3] = kill
    restarting = threading.Thread(target=restart)
    restarting.start()

    def drained() -> bool:
        return not restarting.is_alive() and log.backlog(key, "inference") == 0

    worker.run_until(drained)
    # What it forgot of the second before it was killed is done again (AOF everysec); nothing is left out.
    assert list(dict.fromkeys(worker.done)) == [1, 2, 3, 4, 5, 6]
    assert log.dead_count() == 0
    log.close()
    worker_log.close()


KILLS, PARTS = 30, 600


def test_thirty_kills_lose_nothing_and_double_nothing(
    log: EventLog, stream_url: str, database: Database, plant: Plant
) -> None:
    """Two workers share the stream; one after the other is killed at a random moment and started again."""
    with database.begin() as session:
        session.execute(text("CREATE TABLE worked (inspection_id uuid PRIMARY KEY, number bigint)"))
    chance, key = random.Random(7), log.key(FrameCaptured)
    with killable() as workers:
        workers += [start(stream_url, database.url, consumer) for consumer in "ab"]
        for kill in range(KILLS):
            first = kill * PARTS // KILLS
            log.publish(*(plant.captured(plant.trigger(first + n)) for n in range(1, PARTS // KILLS + 1)))
            place = kill % 2
            if chance.random() < 0.7:  # in the middle of the work; else at any time, also while it starts
                before = log.client.xlen(log.key(InspectionDecided))
                wait_until(lambda before=before: log.client.xlen(log.key(InspectionDecided)) > before)  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.02))
            workers[place].kill()
            workers[place].join()
            workers[place] = start(stream_url, database.url, "ab"[place])
            log.trim() if kill % 5 == 4 else None
        wait_until(lambda: log.backlog(key, "inference") == 0)
    with database.begin() as session:
        worked = session.scalars(text("SELECT number FROM worked ORDER BY number")).all()
    assert worked == list(range(1, PARTS + 1))
    rows: Any = log.client.xrange(log.key(InspectionDecided))
    told = [InspectionDecided.model_validate_json(fields[b"body"]) for _, fields in rows]
    assert {event.trigger.trigger_number for event in told} == set(range(1, PARTS + 1))
    assert log.dead_count() == 0


def start(stream_url: str, database_url: str, consumer: str) -> BaseProcess:
    """Forked from a server that has imported everything: thirty starts take no longer than one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.integration.doubling"])
    process = context.Process(target=doubling.live, args=(stream_url, database_url, consumer), daemon=True)
    process.start()
    return process


@contextmanager
def killable() -> Iterator[list[BaseProcess]]:
    workers: list[BaseProcess] = []
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.join()

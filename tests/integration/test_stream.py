"""The streams on a real Valkey: nothing lost, nothing counted that was not tried, nothing trimmed that is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
import redis

from orchestrator.pipeline import STAGES
from orchestrator.valkey import EmbeddedValkey
from storage.errors import StreamUnavailable
from storage.events import (
    Event,
    FrameCaptured,
    InspectionCompleted,
    InspectionDecided,
    ModelDeployed,
    PartTriggered,
    Trigger,
    TriggerSource,
    Verdict,
    new_id,
    now,
)
from storage.stream import READERS, Entry, EventLog
from tests.facts import frame

RUN = new_id()
STATION = "press"


def trigger(run_id: UUID = RUN, **facts: object) -> Trigger:
    told = {"inspection_id": new_id(), "station": STATION, "run_id": run_id, "trigger_number": 0}
    told |= {"source": TriggerSource.SOFTWARE, "triggered_at": now()}
    return Trigger.model_validate(told | facts)


def captured(number: int = 1) -> FrameCaptured:
    return FrameCaptured(
        trigger=trigger(trigger_number=number), recipe="r", recipe_id=1, frames=(frame(),), told_at=now()
    )


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.event.trigger.trigger_number for entry in entries]  # type: ignore[attr-defined]  # all have one


@pytest.fixture(params=["", "&protocol=2", "&protocol=3", "&protocol=3&legacy_responses=0"])
def any_log(request: pytest.FixtureRequest, stream_url: str) -> Iterator[EventLog]:
    """The log in each of the client's protocols, whose answers have different shapes."""
    try:
        log = EventLog(stream_url + request.param)
    except TypeError:  # an older client has one shape of answer
        log = EventLog(stream_url)
    yield log
    log.close()


@pytest.fixture
def key(log: EventLog) -> str:
    return log.key(FrameCaptured)


def told(log: EventLog, *groups: str, count: int = 3) -> str:
    """A stream with events 1..count and these groups."""
    key = log.key(FrameCaptured)
    log.publish(*(captured(number) for number in range(1, count + 1)))
    for group in groups:
        log.create_group([key], group)
    return key


def test_a_group_also_reads_what_was_told_before_it_existed(any_log: EventLog) -> None:
    key = told(any_log, "inference")
    assert numbers(any_log.read("inference", "a", [key], 10, 10)) == [1, 2, 3]
    assert any_log.read("inference", "a", [key], 10, 10) == []


def test_what_a_killed_worker_had_in_hand_comes_first_and_is_counted(any_log: EventLog) -> None:
    key = told(any_log, "inference")
    any_log.read("inference", "a", [key], 2, 10)
    (again,) = any_log.read_pending("inference", "a", [key], 1)
    assert (numbers([again]), again.deliveries) == ([1], 2)
    any_log.publish_and_acknowledge([], [again], "inference")
    assert numbers(any_log.read_pending("inference", "a", [key], 5)) == [2]
    assert any_log.read_pending("inference", "b", [key], 5) == []


def test_one_pending_entry_is_read_even_when_there_are_two_streams(any_log: EventLog) -> None:
    key, other = told(any_log, "record", count=1), any_log.key(InspectionDecided)
    any_log.create_group([other], "record")
    any_log.publish(InspectionDecided.error(captured(7), "because"))
    assert len(any_log.read("record", "a", [other, key], 5, 10)) == 2
    for deliveries in (2, 3):
        (first,) = any_log.read_pending("record", "a", [other, key], 1)
        assert (first.key, first.deliveries) == (other, deliveries)
    any_log.publish_and_acknowledge([], [first], "record")
    (second,) = any_log.read_pending("record", "a", [other, key], 1)
    assert (second.key, second.deliveries) == (key, 2)  # not harmed by what was before it


def test_another_worker_takes_over_what_a_dead_one_left(any_log: EventLog) -> None:
    key = told(any_log, "inference")
    any_log.read("inference", "dead", [key], 2, 10)
    assert any_log.claim_idle("inference", "b", [key], 60.0, 1) == []
    (claimed,) = any_log.claim_idle("inference", "b", [key], 0.0, 1)
    assert (numbers([claimed]), claimed.deliveries) == ([1], 2)


def test_what_is_left_behind_is_found_behind_many_that_are_at_work(log: EventLog, key: str) -> None:
    told(log, "inference", count=60)
    entries = log.read("inference", "dead", [key], 60, 10)
    log.client.xclaim(key, "inference", "busy", 0, [entry.id for entry in entries[:-1]], justid=True)
    log.client.xclaim(key, "inference", "dead", 0, [entries[-1].id], idle=120_000, justid=True)
    (claimed,) = log.claim_idle("inference", "b", [key], 60.0, 1)
    assert numbers([claimed]) == [60]


def test_what_cannot_be_read_is_set_aside_at_once_and_hides_nothing_behind_it(any_log: EventLog) -> None:
    key = any_log.key(FrameCaptured)
    any_log.create_group([key], "inference")
    any_log.client.xadd(key, {"stream": "frame.captured", "body": b"\xff\xfe{"})
    any_log.client.xadd(key, {"nothing": "known"})
    any_log.publish(captured(3))
    assert numbers(any_log.read("inference", "a", [key], 10, 10)) == [3]
    assert [letter.group for letter in any_log.dead_letters()] == ["inference"] * 2
    assert any_log.backlog(key, "inference") == 1


def test_own_pending_entries_are_found_behind_one_that_cannot_be_read(log: EventLog, key: str) -> None:
    told(log, "inference", count=2)
    log.client.xadd(key, {"stream": "frame.captured", "body": "{"})
    log.publish(captured(4))
    log.client.xreadgroup("inference", "a", {key: ">"}, 10)  # delivered to a worker that died before it decoded
    read = []
    while entries := log.read_pending("inference", "a", [key], 1):
        read += numbers(entries)
        log.publish_and_acknowledge([], entries, "inference")
    assert read == [1, 2, 4]
    assert log.dead_count() == 1


def test_an_entry_that_was_deleted_while_pending_is_forgotten(any_log: EventLog) -> None:
    key = told(any_log, "inference")
    first, *_ = any_log.read("inference", "a", [key], 3, 10)
    any_log.client.xdel(key, first.id)
    assert numbers(any_log.read_pending("inference", "a", [key], 1)) == [2]
    any_log.client.xtrim(key, maxlen=0, approximate=False)
    assert any_log.claim_idle("inference", "b", [key], 0.0, 1) == []
    assert any_log.read_pending("inference", "a", [key], 1) == []
    assert any_log.backlog(key, "inference") == 0


def test_telling_and_acknowledging_is_one_step(log: EventLog, key: str) -> None:
    told(log, "inference", count=1)
    entries = log.read("inference", "a", [key], 1, 10)
    with pytest.raises(redis.DataError):
        log.publish_and_acknowledge([captured(9)], [replace(entries[0], id=None)], "inference")  # type: ignore[arg-type]
    assert log.client.xlen(key) == 1
    assert log.backlog(key, "inference") == 1


def test_trimming_keeps_what_any_group_has_not_read_or_not_acknowledged(any_log: EventLog) -> None:
    log, key = any_log, told(any_log, "inference", "record", count=10)
    log.publish_and_acknowledge([], log.read("record", "r", [key], 10, 10), "record")
    assert log.trim() == 0  # inference has read nothing
    entries = log.read("inference", "a", [key], 6, 10)
    log.publish_and_acknowledge([], entries[:2] + entries[3:], "inference")
    assert log.trim() == 2  # the third is pending
    assert numbers(log.read_pending("inference", "a", [key], 10)) == [3]
    log.publish_and_acknowledge([], [entries[2]], "inference")
    assert log.trim() == 4
    assert numbers(log.read("inference", "a", [key], 10, 10)) == [7, 8, 9, 10]
    assert log.trim() == 0


def test_trimming_waits_for_readers_that_are_still_being_started(log: EventLog, key: str) -> None:
    told(log, "record")
    log.publish_and_acknowledge([], log.read("record", "r", [key], 10, 10), "record")
    assert log.trim() == 0
    log.create_group([key], "inference")
    assert numbers(log.read("inference", "a", [key], 10, 10)) == [1, 2, 3]


def test_all_that_everybody_has_acknowledged_is_trimmed(log: EventLog, key: str) -> None:
    told(log, "record", "inference", count=50)
    for group in ("record", "inference"):
        log.publish_and_acknowledge([], log.read(group, "a", [key], 50, 10), group)
    assert log.trim() == 50
    assert log.client.xlen(key) == 0
    log.publish(captured(51))
    assert numbers(log.read("inference", "a", [key], 50, 10)) == [51]


def test_trimming_leaves_dead_letters_and_notifications_alone(log: EventLog, key: str) -> None:
    told(log, "inference", "record", count=1)
    (entry,) = log.read("inference", "a", [key], 1, 10)
    log.set_aside(entry, "inference", "why", [InspectionDecided.error(captured(), "why")])
    log.publish(completed())
    log.trim()
    assert log.dead_count() == 1
    assert log.client.xlen(log.key(InspectionCompleted)) == 1


def test_the_readers_are_the_stages_that_read() -> None:
    read: dict[str, set[str]] = {}
    for stage in STAGES:
        for event in stage.reads:
            read.setdefault(event.stream, set()).add(stage.name)
    assert {stream: set(groups) for stream, groups in READERS.items()} == read


def test_a_poisoned_entry_is_set_aside_with_what_that_means_and_can_be_replayed(any_log: EventLog) -> None:
    key = told(any_log, "inference", count=1)
    (entry,) = any_log.read("inference", "a", [key], 1, 10)
    any_log.set_aside(entry, "inference", "why", [InspectionDecided.error(captured(5), "why")])
    (letter,) = any_log.dead_letters()
    assert (letter.key, letter.group, letter.reason, letter.deliveries) == (key, "inference", "why", 1)
    assert any_log.client.xlen(any_log.key(InspectionDecided)) == 1
    assert any_log.backlog(key, "inference") == 0
    assert any_log.replay(letter)
    assert not any_log.replay(letter), "replayed twice"
    (again,) = any_log.read("inference", "a", [key], 1, 10)
    assert (again.event, any_log.dead_count()) == (entry.event, 0)


def test_a_dead_trigger_is_replayed_with_its_number(log: EventLog) -> None:
    key = log.key(PartTriggered, STATION)
    for _ in range(3):
        log.trigger(trigger())
    log.create_group([key], "capture")
    entries = log.read("capture", "c", [key], 3, 10)
    log.set_aside(entries[2], "capture", "why")
    log.replay(log.dead_letters()[0])
    assert numbers(log.read("capture", "c", [key], 3, 10)) == [3]


def test_a_group_comes_back_by_itself_when_redis_lost_its_data(any_log: EventLog) -> None:
    key = told(any_log, "inference")
    any_log.client.flushall()
    assert any_log.read("inference", "a", [key], 1, 10) == []
    any_log.client.flushall()
    assert any_log.read_pending("inference", "a", [key], 1) == []
    any_log.client.flushall()
    assert any_log.claim_idle("inference", "a", [key], 0.0, 1) == []
    any_log.publish(captured(8))
    assert numbers(any_log.read("inference", "a", [key], 1, 10)) == [8]


def test_a_delivery_that_was_no_try_is_taken_back(any_log: EventLog) -> None:
    key = told(any_log, "inference", count=1)
    entries = any_log.read("inference", "a", [key], 1, 10)
    for _ in range(3):
        any_log.uncount(entries, "inference", "a")
        entries = any_log.read_pending("inference", "a", [key], 1)
        assert entries[0].deliveries == 1


def test_the_backlog_of_a_group_that_does_not_exist_yet_is_everything(log: EventLog, key: str) -> None:
    assert log.backlog(key, "inference") == 0
    told(log, "record", count=4)
    assert log.backlog(key, "inference") == 4
    log.create_group([key], "inference")
    log.read("inference", "a", [key], 1, 10)
    assert log.backlog(key, "inference") == 4


def test_a_server_that_does_not_tell_the_lag_is_counted_after(log: EventLog, key: str) -> None:
    told(log, "inference", count=5)
    log.read("inference", "a", [key], 2, 10)
    (row,) = log.group_rows(key)
    assert log.lag(key, row) == 3
    assert log.lag(key, {name: value for name, value in row.items() if name != "lag"}) == 3  # Redis 6.2
    assert log.lag(key, {**row, "lag": None}) == 3  # Redis 7 after some deletions


def test_trigger_numbers_have_no_gaps_and_end_at_the_limit(any_log: EventLog) -> None:
    given = [any_log.trigger(trigger(), limit=3) for _ in range(5)]
    assert given == [1, 2, 3, 0, 0]
    assert any_log.triggered(str(RUN)) == 3
    assert any_log.trigger(trigger(new_id()), limit=3) == 4  # another run of the same station
    key = any_log.key(PartTriggered, STATION)
    any_log.create_group([key], "capture")
    assert numbers(any_log.read("capture", "c", [key], 10, 10)) == [1, 2, 3, 4]


def test_a_recording_ends_with_its_last_number_in_each_run(log: EventLog) -> None:
    assert [log.trigger(trigger(), last_number=2) for _ in range(4)] == [1, 2, -2, -2]
    next_run = trigger().model_copy(update={"run_id": new_id()})
    assert log.trigger(trigger()) == 3
    assert [log.trigger(next_run, last_number=2) for _ in range(3)] == [4, 5, -2]
    assert log.first_number(str(next_run.run_id), STATION) == 4
    assert log.first_number(str(RUN), STATION) == 1


def test_a_file_has_one_trigger_however_often_it_is_told(log: EventLog) -> None:
    given = [log.trigger(trigger(), arrival=("/in/a.png", state)) for state in ("1-1", "1-1", "2-1", "2-1")]
    assert given == [1, -1, 2, -1]  # written anew, it is a new part
    assert log.arrived(STATION, "/in/a.png") == "2-1"
    assert log.arrived(STATION, "/in/b.png") is None
    odd = "/in/\udcff.png"  # a name that is no UTF-8
    assert [log.trigger(trigger(part_id="\udcff\0"), arrival=(odd, "1-1")) for _ in range(2)] == [3, -1]
    assert log.arrived(STATION, odd) == "1-1"


def test_a_limit_that_is_reached_leaves_the_file_for_the_next_run(log: EventLog) -> None:
    assert log.trigger(trigger(), limit=1) == 1
    assert log.trigger(trigger(), limit=1, arrival=("/in/a.png", "1-1")) == 0
    assert log.arrived(STATION, "/in/a.png") is None


def test_numbers_go_on_after_what_the_table_knows(log: EventLog) -> None:
    log.seed_trigger_number(STATION, 41)
    assert log.trigger(trigger()) == 42
    log.seed_trigger_number(STATION, 7)
    assert log.trigger(trigger()) == 43


def completed(number: int = 1) -> InspectionCompleted:
    return InspectionCompleted(
        inspection_id=new_id(),
        station=STATION,
        run_id=RUN,
        trigger_number=number,
        part_id=None,
        verdict=Verdict.OK,
        reason="fine",
        anomaly_score=0.1,
        model_version="m",
        latency_milliseconds=1.0,
        completed_at=now(),
    )


def test_notifications_are_followed_from_now_on_and_unreadable_ones_passed_over(any_log: EventLog) -> None:
    any_log.publish(completed(1))
    seen, after = any_log.follow(InspectionCompleted, "")
    assert seen == []
    any_log.publish(completed(2))
    any_log.client.xadd(any_log.key(InspectionCompleted), {"body": "{"})
    any_log.publish(completed(3))
    found, after = any_log.follow(InspectionCompleted, after)
    assert [event.trigger_number for event in found] == [2, 3]  # type: ignore[attr-defined]  # completed ones
    assert any_log.follow(InspectionCompleted, after) == ([], after)


def test_every_event_reads_back_as_it_was_told(log: EventLog, key: str) -> None:
    events: list[Event] = [captured(), InspectionDecided.error(captured(), "wörds\0"), completed()]
    events.append(ModelDeployed(recipe="r", alias="champion", model_version="m"))
    for event in events:
        log.create_group([log.key(type(event))], "g")
        log.publish(event)
        (entry,) = log.read("g", "a", [log.key(type(event))], 1, 10)
        assert entry.event == event


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A durable Valkey that a test may kill."""
    server = EmbeddedValkey(tmp_path / "home")
    server.start()
    yield server
    server.stop()


def test_a_full_store_is_waited_out_and_no_event_is_lost(own_server: EmbeddedValkey) -> None:
    log = EventLog(own_server.url)
    key = told(log, "inference", count=1)
    entries = log.read("inference", "a", [key], 1, 10)
    log.trigger(trigger())
    log.client.config_set("maxmemory", 1)
    for refused in (
        lambda: log.publish(captured()),
        lambda: log.publish_and_acknowledge([captured()], entries, "inference"),
        lambda: log.trigger(trigger(), arrival=("/in/a.png", "1-1")),
        lambda: log.set_aside(entries[0], "inference", "why"),
    ):
        with pytest.raises(StreamUnavailable, match="does not take"):
            refused()
    log.client.config_set("maxmemory", 0)
    assert log.backlog(key, "inference") == 1
    assert log.arrived(STATION, "/in/a.png") is None
    assert log.trigger(trigger(), arrival=("/in/a.png", "1-1")) == 2
    log.close()


def test_a_replica_that_takes_no_writes_is_waited_out(own_server: EmbeddedValkey) -> None:
    log = EventLog(own_server.url)
    log.client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
    with pytest.raises(StreamUnavailable, match="does not take"):
        log.publish(captured())
    log.client.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]
    log.publish(captured())
    log.close()


def test_acknowledged_events_survive_the_servers_sudden_death(own_server: EmbeddedValkey) -> None:
    log = EventLog(own_server.url)
    key = told(log, "inference", count=20)
    (first, *_) = log.read("inference", "a", [key], 5, 10)
    process = own_server.process()
    assert process is not None
    process.kill()
    process.wait(10)
    with pytest.raises(StreamUnavailable):
        log.read("inference", "a", [key], 5, 10)
    own_server.start()
    assert log.backlog(key, "inference") == 20
    assert log.read_pending("inference", "a", [key], 1)[0].event == first.event
    assert log.trigger(trigger()) == 1
    log.close()

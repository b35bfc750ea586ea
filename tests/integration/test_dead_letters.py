"""Dead letters: listed, put back, never lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.events import PartTriggered, Trigger, TriggerSource, new_id, now
from storage.stream import EventLog
from tests.command import Command


@pytest.fixture
def log(stream_url: str) -> Iterator[EventLog]:
    opened = EventLog(stream_url)
    yield opened
    opened.close()


@pytest.fixture
def adline(adline: Command, stream_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("REDIS_URL", stream_url)
    return adline


def set_aside(log: EventLog, count: int) -> list[str]:
    """So many triggers that the capture worker could not deal with; the parts' ids."""
    key = log.key(PartTriggered, "press")
    log.create_group([key], "capture")
    for number in range(count):
        trigger = Trigger(
            inspection_id=new_id(),
            station="press",
            run_id=new_id(),
            trigger_number=0,
            source=TriggerSource.SOFTWARE,
            triggered_at=now(),
            part_id=f"P-{number}",
        )
        log.trigger(trigger)
    for entry in log.read("capture", "one", [key], count, 100):
        log.set_aside(entry, "capture", "set aside [red] after 5 deliveries")
    return [letter.id for letter in log.dead_letters()]


def test_dead_letters_are_listed_with_their_reason(adline: Command, log: EventLog) -> None:
    assert adline("dlq", "list") == 0
    assert adline.out == "no dead letters\n"
    ids = set_aside(log, 2)
    listed = adline.json("dlq", "list")
    assert [letter["id"] for letter in listed] == ids
    assert listed[0]["reason"] == "set aside [red] after 5 deliveries" and listed[0]["stream"] == "part.triggered"
    assert adline("dlq", "list") == 0
    assert "set aside [red] after 5 deliveries" in adline.out


def test_one_dead_letter_is_delivered_again_with_its_number(adline: Command, log: EventLog) -> None:
    first, second = set_aside(log, 2)
    assert adline("dlq", "replay", second) == 0
    assert adline.out == "1 dead letter put back\n"
    assert [letter.id for letter in log.dead_letters()] == [first]
    (entry,) = log.read("capture", "one", [log.key(PartTriggered, "press")], 10, 100)
    assert isinstance(entry.event, PartTriggered)
    assert entry.event.trigger.part_id == "P-1" and entry.event.trigger.trigger_number == 2


def test_all_dead_letters_are_put_back_however_many(adline: Command, log: EventLog) -> None:
    set_aside(log, 1200)
    assert len(log.dead_letters(2000)) == 1200
    assert adline("dlq", "replay", "--all") == 0
    assert adline.out == "1200 dead letters put back\n"
    assert log.dead_count() == 0
    assert len(log.read("capture", "one", [log.key(PartTriggered, "press")], 2000, 100)) == 1200


def test_an_unknown_id_puts_nothing_back(adline: Command, log: EventLog) -> None:
    (known,) = set_aside(log, 1)
    assert adline("dlq", "replay", known, "1-1") == 1
    assert adline.err == "adline: there is no dead letter 1-1; `adline dlq list` shows those there are\n"
    assert log.dead_count() == 1


def test_replay_wants_to_know_which(adline: Command, log: EventLog) -> None:
    (known,) = set_aside(log, 1)
    assert adline("dlq", "replay") == 2
    assert adline("dlq", "replay", known, "--all") == 2
    assert log.dead_count() == 1

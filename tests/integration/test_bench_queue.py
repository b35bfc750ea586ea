"""The bench of the queue: on a served line it finds nothing wrong, and what is wrong it finds."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.bench_client import Answers
from orchestrator.bench_queue import claims_alone, doubles, fill, foreign, report, returned, tokens, unrecorded, work
from orchestrator.processes import ProcessMark
from orchestrator.running import RunningLine
from orchestrator.web import listen, serve
from storage import bench_rows, records, review_lists
from storage.bench_rows import LabelFound
from storage.errors import NotOnRecord
from storage.events import new_id
from storage.stream import EventLog
from tests.facts import Plant, frame
from tests.integration.served import Served

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SOON = NOW + timedelta(seconds=2)


@pytest.fixture
def served(plant: Plant, log: EventLog, tmp_path: Path) -> Iterator[tuple[Served, RunningLine]]:
    up = Served(plant, log, tmp_path)
    event = plant.decided(plant.captured(plant.trigger(), frame(data=b"real")), 0.1)
    with plant.database.begin() as session:
        records.record_verdicts(session, [event])
    with listen("127.0.0.1", 0) as port, serve(up, port):
        address = f"http://127.0.0.1:{port.getsockname()[1]}"
        wait_for(port)
        yield up, RunningLine(ProcessMark.of(psutil.Process(), "start"), address, up.console_token)


def wait_for(port: socket.socket) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(port.getsockname()[:2], timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)


def test_a_crowd_on_a_served_line_decides_every_review_once(served: tuple[Served, RunningLine]) -> None:
    up, line = served
    with up.database.begin() as session:
        ground = bench_rows.prepare(session, "bench", "here")
        aside = bench_rows.prepare(session, "aside", "here")
    fill(up.database, ground, aside, 60, rows=30, waiting=20, say=lambda _: None)
    with up.database.begin() as session:
        assert records.overdue(session, timedelta(0)) == [], "the line would take them for parts that got stuck"
    with tokens(up.database, "bench", 6) as known:
        assert len(claims_alone(line, *known[0], claims=10)) == 20
        with up.database.begin() as session:
            assert review_lists.counts(session, timedelta(hours=8))["leased"] == 0, "all was given back"
        answers = work(line, up.database, ground, known, 60, seed=3, say=lambda _: None)
    found: dict[str, Any] = report(up.database, ground, answers, 60)
    assert (found["reviews"], found["decided"]) == (60, 60)
    assert (found["double"], found["foreign"], found["lost"], found["unanswered"]) == (0, 0, 0, 0)
    assert found["expired_returned"] > 0 and found["refused"] > 0, "this seed has crashes and late answers"
    assert 0 < found["claim_ms"]["p50"] <= found["claim_ms"]["p99"]
    with up.database.begin() as session:
        assert bench_rows.still_open(session, "aside") == 20
        bench_rows.withdraw(session, "aside")
        assert bench_rows.still_open(session, "aside") == 0


def test_without_a_real_frame_there_is_nothing_to_put_before_people(plant: Plant) -> None:
    with plant.database.begin() as session, pytest.raises(NotOnRecord, match="no frame yet"):
        bench_rows.prepare(session, "bench", "here")


def label(**facts: Any) -> LabelFound:
    told = LabelFound(new_id(), new_id(), "anna", 1, 1, 1, NOW, SOON)
    return replace(told, **facts)


def test_a_decision_under_no_lease_or_after_it_or_of_somebody_else_is_foreign() -> None:
    good = label()
    late, stolen, made_up = label(decided_at=SOON + timedelta(seconds=1)), label(decided_by="ben"), label(token=7)
    everything = [good, late, stolen, made_up]
    anna = Answers("anna", claims=[(str(one.review_id), 1) for one in everything])
    assert foreign([good], [anna]) == 0
    assert [foreign([one], [anna]) for one in (late, stolen, made_up)] == [1, 1, 1]


def test_two_answers_to_one_question_are_a_double_and_a_second_opinion_is_none() -> None:
    first = label()
    assert doubles([first, label()]) == 0
    assert doubles([first, replace(first, id=new_id(), opinion=2, decided_by="ben")]) == 0
    assert doubles([first, replace(first, id=new_id(), token=2)]) == 1


def test_what_a_client_was_told_is_on_record_and_is_not_there_is_lost() -> None:
    there = label()
    assert unrecorded([there], [Answers("anna", accepted={str(there.id)})]) == 0
    assert unrecorded([there], [Answers("anna", accepted={str(new_id())})]) == 1


def test_a_lease_let_run_out_has_returned_when_it_was_claimed_again() -> None:
    anna = Answers("anna", claims=[("r1", 1), ("r2", 1)], abandoned=[("r1", 1), ("r2", 1)])
    assert returned([anna, Answers("ben", claims=[("r1", 2)])]) == 1

"""Identities: UUIDv7 whose order is the order in which they were made."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from storage.events import new_id


def test_ids_of_one_process_sort_strictly_as_they_were_made() -> None:
    made = [new_id() for _ in range(5000)]
    assert made == sorted(made) and len(set(made)) == len(made)


def test_an_id_is_a_version_7_uuid_that_tells_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    one = new_id()
    after = time.time_ns() // 1_000_000
    assert (one.version, one.variant) == (7, "specified in RFC 4122")
    assert before <= one.int >> 80 <= after + 1


def test_a_clock_that_is_set_back_gives_no_id_before_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    year_2000 = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: year_2000)
    assert first < new_id() < new_id()


def test_threads_never_share_an_id() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: new_id(), range(4000)))
    assert len(set(made)) == len(made)

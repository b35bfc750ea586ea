"""Answers that are kept when they are dear."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from orchestrator.kept import CHEAP_SECONDS, SHARE, Kept


class Clock:
    """A time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def counting(clock: Clock, cost: float) -> Kept[int]:
    found = iter(range(1, 1000))

    def find() -> int:
        clock.now += cost
        return next(found)

    return Kept(find, clock)


def test_what_costs_little_is_found_each_time() -> None:
    cheap = counting(Clock(), CHEAP_SECONDS / 2)
    assert [cheap.get() for _ in range(3)] == [1, 2, 3]


def test_what_is_dear_is_found_anew_when_its_cost_is_a_small_share_of_the_time() -> None:
    clock = Clock()
    dear = counting(clock, 2.0)
    assert dear.get() == 1
    clock.now += 2.0 / SHARE - 0.1
    assert dear.get() == 1
    clock.now += 0.2
    assert dear.get() == 2


def test_who_asks_while_it_is_found_waits_for_the_same_answer() -> None:
    dear, start = counting(Clock(), 2.0), Barrier(8)

    def ask() -> int:
        start.wait(10)
        return dear.get()

    with ThreadPoolExecutor(8) as pool:
        assert [future.result() for future in [pool.submit(ask) for _ in range(8)]] == [1] * 8

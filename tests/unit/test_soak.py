"""When the soak kills whom."""

from __future__ import annotations

from itertools import pairwise

import pytest

from orchestrator.soak import WORKER_KINDS, kill_plan

SERVICES = ("valkey", "postgres")


@pytest.mark.parametrize(("parts", "kills"), [(2000, 40), (2000, 2), (100, 60), (1, 1), (50, 0)])
@pytest.mark.parametrize("seed", range(5))
def test_each_kill_is_due_while_parts_are_left_to_inspect(parts: int, kills: int, seed: int) -> None:
    plan = kill_plan(parts, kills, seed, SERVICES)
    assert len(plan) == kills
    assert all(before.at_parts <= after.at_parts for before, after in pairwise(plan))
    assert all(0 <= kill.at_parts < parts for kill in plan)


@pytest.mark.parametrize("seed", range(5))
def test_each_service_dies_once_and_each_kind_of_worker_again_and_again(seed: int) -> None:
    targets = [kill.target for kill in kill_plan(2000, 40, seed, SERVICES)]
    assert all(targets.count(name) == 1 for name in SERVICES)
    assert set(targets) == {*SERVICES, *WORKER_KINDS}
    assert kill_plan(2000, 40, seed, SERVICES) == kill_plan(2000, 40, seed, SERVICES), "by its seed alone"

from __future__ import annotations

import pytest

from workers.detectors.held_out import divide


@pytest.mark.parametrize("seed", range(20))
def test_a_part_is_never_both_learned_from_and_calibrated_on(seed: int) -> None:
    groups = [str(number % 31) for number in range(100)]
    division = divide(groups, 0.2, 0.1, seed)
    assert not {groups[place] for place in division.kept} & {groups[place] for place in division.held_out}
    assert sorted(division.kept + division.held_out) == list(range(100))
    assert division.held_out_groups == [groups[place] for place in division.held_out]


def test_enough_parts_are_held_out_for_the_promised_rate() -> None:
    assert len(set(divide([str(number // 6) for number in range(180)], 0.2, 0.05, 0).held_out_groups)) == 19
    assert len(divide([str(number) for number in range(300)], 0.2, 0.05, 0).held_out) == 60


def test_the_same_seed_holds_out_the_same_parts() -> None:
    groups = [str(number // 3) for number in range(120)]
    assert divide(groups, 0.2, 0.1, 5) == divide(groups, 0.2, 0.1, 5) != divide(groups, 0.2, 0.1, 6)

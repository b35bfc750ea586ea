from __future__ import annotations

import pytest

from storage.errors import TeachingFailed
from workers.detectors.held_out import divide, folds_of


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


@pytest.mark.parametrize("seed", range(20))
def test_by_turns_each_image_is_held_out_once_together_with_the_others_of_its_part(seed: int) -> None:
    groups = [str(number % 31) for number in range(100)]
    folds = folds_of(groups, 8, 0.05, seed)
    assert sorted(place for fold in folds for place in fold) == list(range(100))
    parts = [{groups[place] for place in fold} for fold in folds]
    assert sum(map(len, parts)) == 31
    assert {len(one) for one in parts} == {3, 4}


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.1, 12), (0.3, 12)])
def test_by_turns_as_many_parts_are_needed_as_the_rate_asks_for_and_enough_to_learn_from(
    rate: float, needed: int
) -> None:
    folds = folds_of([str(number) for number in range(needed)], 8, rate, 0)
    assert needed - max(map(len, folds)) >= 10
    with pytest.raises(TeachingFailed, match=f"needs at least {needed}"):
        folds_of([str(number) for number in range(needed - 1)], 8, rate, 0)

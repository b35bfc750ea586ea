from __future__ import annotations

import pytest

from storage.errors import TeachingFailed
from workers.detectors.held_out import divide, turns


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
    found = turns(groups, 4, 0.05, seed)
    turn_of = dict(zip(groups, found, strict=True))
    assert found == [turn_of[group] for group in groups]
    folds = [[turn.half for turn in turn_of.values() if turn.fold == fold] for fold in range(4)]
    assert sorted(map(len, folds)) == [7, 8, 8, 8]
    assert all(sorted(fold).count(0) == 4 for fold in folds), "half of each fold is in either half"


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.1, 14), (0.3, 14)])
def test_by_turns_as_many_parts_are_needed_as_the_rate_asks_for_and_enough_to_learn_from(
    rate: float, needed: int
) -> None:
    found = turns([str(number) for number in range(needed)], 4, rate, 0)
    assert all(sum(turn.fold != fold for turn in found) >= 10 for fold in range(4))
    with pytest.raises(TeachingFailed, match=f"needs at least {needed}"):
        turns([str(number) for number in range(needed - 1)], 4, rate, 0)

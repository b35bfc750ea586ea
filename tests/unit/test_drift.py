from __future__ import annotations

import numpy as np
import pytest

from tests.painted import good_part
from workers.drift import statistics
from workers.drift.diagnosis import Cause, Scores, confirmed, diagnose
from workers.drift.look import look
from workers.drift.sample import FrameSample, recorded, sample_of


def sample(start: int, count: int = 40) -> FrameSample:
    return sample_of(look(good_part(start + number)) for number in range(count))


def test_psi_and_ks_of_one_distribution_are_small_and_of_two_are_large() -> None:
    random = np.random.default_rng(0)
    first, second, other = random.normal(size=1000), random.normal(size=1000), random.normal(1, size=1000)
    assert statistics.psi(first, second) < 0.1 < 0.25 < statistics.psi(first, other)
    assert statistics.ks(first, second)[1] > 0.01 > 1e-9 > statistics.ks(first, other)[1]


def test_all_parts_darker_is_a_shift_and_some_parts_darker_is_none() -> None:
    values = np.random.default_rng(0).normal(size=400)
    assert statistics.common_shift(values, values - 1) == pytest.approx(-1)
    some = values.copy()
    some[:133] -= 3
    assert abs(statistics.common_shift(values, some)) < 3 / 6  # a third of the parts moved by 3
    assert statistics.common_shift(values, values * 3) == 0.0


def test_a_reference_is_read_back_from_its_record_and_says_the_same() -> None:
    reference, window = sample(0), sample(100)
    again = recorded(reference.record(), reference.edge_bytes())
    first, second = diagnose(reference, window), diagnose(again, window)
    assert (first.cause, first.sentence) == (second.cause, second.sentence) == (Cause.NONE, first.sentence)
    assert abs(first.brightness - second.brightness) < 0.001


def test_scores_that_fall_without_a_cause_in_the_images_are_said_to_be_unexplained() -> None:
    random = np.random.default_rng(0)
    before, after = (Scores(random.normal(mean, 0.03, 100), 0.6) for mean in (0.3, 0.2))
    found = diagnose(sample(0), sample(100), before, after)
    assert found.cause is Cause.UNKNOWN and "no cause to be seen in the images" in found.sentence


def test_few_frames_say_nothing() -> None:
    found = diagnose(sample(0), sample(100, 10))
    assert found.cause is Cause.NONE and found.sentence.startswith("nothing can be said yet: 40 frames")


def test_what_only_scores_tell_is_believed_when_it_is_said_twice() -> None:
    assert confirmed(None, Cause.POSITION) and confirmed(Cause.PARTS, Cause.PARTS)
    assert not confirmed(Cause.NONE, Cause.PARTS) and not confirmed(Cause.NONE, Cause.NONE)

from __future__ import annotations

import numpy as np
import pytest

from tests.painted import good_part
from workers.drift import statistics
from workers.drift.diagnosis import Cause, Limits, Scores, compare, confirmed, diagnose, of_scores
from workers.drift.look import look
from workers.drift.projection import DIRECTIONS, directions, projected
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


def looks(mean: float, count: int = 100, seed: int = 0) -> Scores:
    """Scores as ever, and eight projections of which the fourth has moved."""
    random = np.random.default_rng(seed)
    projections = random.normal(size=(count, 8))
    projections[:, 3] += mean
    return Scores(random.normal(0.3, 0.03, count), 0.6, projections)


def test_parts_that_look_otherwise_and_score_as_before_are_an_alarm_of_unknown_cause() -> None:
    found = diagnose(sample(0), sample(100), looks(0.0), looks(1.5, seed=1))
    assert found.cause is Cause.UNKNOWN and not found.cause.is_camera
    assert found.sentence.startswith("the parts look otherwise to the model (embedding PSI ")
    assert found.embedding_psi is not None and found.embedding_psi > 0.25
    assert found.record()["embedding_chance"] < 0.001 < found.record()["ks_chance"]
    same = diagnose(sample(0), sample(100), looks(0.0), looks(0.0, seed=1))
    assert same.cause is Cause.NONE and "embeddings are as they were" in same.sentence


def test_a_reference_from_before_embeddings_were_kept_is_compared_by_its_scores() -> None:
    before, after = looks(0.0), looks(1.5, seed=1)
    found = diagnose(sample(0), sample(100), Scores(before.values, 0.6), after)
    assert found.cause is Cause.NONE and found.ks is not None and found.embedding_ks is None


def test_all_tests_together_are_fooled_by_chance_as_seldom_as_is_asked() -> None:
    random = np.random.default_rng(0)
    limits, fooled = Limits(chance=0.1, psi=1e-9), 0
    for _ in range(300):
        values, projections = random.normal(0.4, 0.15, (2, 40)), random.normal(size=(2, 40, 8))
        before, after = (Scores(values[place], 0.6, projections[place]) for place in range(2))
        fooled += of_scores(compare(before, after), limits) is not Cause.NONE
    assert 0 < fooled / 300 < 0.1 + 0.035, "two standard deviations above"


def test_the_projections_of_a_version_are_always_the_same_and_of_another_one_others() -> None:
    embedding = np.random.default_rng(0).normal(size=272).astype(np.float32)
    first = projected(embedding, "cells-1")
    assert first is not None and len(first) == DIRECTIONS
    assert first == projected(embedding, "cells-1") != projected(embedding, "cells-2")
    assert directions("cells-1", 4)[0].tolist() == pytest.approx([-0.040443, 0.724487, -0.109639, 0.679311], abs=1e-6)
    assert projected(None, "cells-1") is None
    assert projected(np.array([np.nan], np.float32), "cells-1") is None


def test_few_frames_say_nothing() -> None:
    found = diagnose(sample(0), sample(100, 10))
    assert found.cause is Cause.NONE and found.sentence.startswith("nothing can be said yet: 40 frames")


def test_what_only_scores_tell_is_believed_when_it_is_said_twice() -> None:
    assert confirmed(None, Cause.POSITION) and confirmed(Cause.PARTS, Cause.PARTS)
    assert not confirmed(Cause.NONE, Cause.PARTS) and not confirmed(Cause.NONE, Cause.NONE)

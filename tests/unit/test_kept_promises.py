"""Models taught anew from parts drawn at random, each held to its own threshold: scores whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from storage.errors import ModelConfigurationWrong
from tests.unit.painted_parts import labelled_parts
from workers.datasets.resampling import resampled
from workers.detectors.calibration import calibrate
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.taught_anew import Anew, TeachAnew, look

PARTS = {str(part): [part] for part in range(1200)}
SCORES = np.random.default_rng(0).normal(size=1200)


def learned(scores: NDArray[np.float64], closer: float = 0.0, threshold: float | None = None) -> TeachAnew:
    """A detector that finds parts it knows closer than others, and may calibrate on just those."""

    def teach(places: Sequence[int], groups: Sequence[str], seed: int) -> Anew:
        calibration = calibrate((scores[list(places)] - closer).tolist(), 0.05, 0.05, groups)
        if threshold is not None:
            calibration = replace(calibration, raw_threshold=threshold)
        return Anew(calibration, lambda places: scores[list(places)].tolist())

    return teach


def test_an_honest_threshold_is_kept_and_the_same_seed_says_the_same() -> None:
    found = resampled(PARTS, 400, learned(SCORES), 100)
    assert found["resamplings"] == 100 and found["inside"] >= 95 and found["inside_95"] >= 90
    assert found["inside_95"] <= found["inside"]
    assert (found["parts_taught"], found["parts_to_come"]) == (400, 800)
    assert found["false_reject_rate"] == pytest.approx(0.05, abs=0.015)
    assert resampled(PARTS, 400, learned(SCORES), 100) == found
    assert resampled(PARTS, 400, learned(SCORES), 100, seed=1) != found


def test_a_threshold_that_was_calibrated_on_what_was_learned_from_is_found_out() -> None:
    found = resampled(PARTS, 400, learned(SCORES, closer=0.7), 100)
    assert found["inside"] < 20 and found["false_reject_rate"] > 0.1


@pytest.mark.parametrize(("threshold", "rate"), [(-np.inf, 1.0), (np.inf, 0.0)])
def test_a_threshold_that_rejects_all_or_nothing_is_found_out(threshold: float, rate: float) -> None:
    found = resampled(PARTS, 400, learned(SCORES, threshold=threshold), 100)
    assert found["inside"] == found["inside_95"] == 0 and found["false_reject_rate"] == rate


def test_several_images_of_a_part_are_learned_from_together_or_not_at_all() -> None:
    random = np.random.default_rng(1)
    parts = {str(part): list(range(3 * part, 3 * part + 3)) for part in range(120)}
    scores = (random.normal(size=(120, 1)) + 0.3 * random.normal(size=(120, 3))).ravel()
    honest = learned(scores)

    def teach(places: Sequence[int], groups: Sequence[str], seed: int) -> Anew:
        assert len(places) == 120 and {str(place // 3) for place in places} == set(groups)
        assert list(groups) == [str(place // 3) for place in places]
        anew = honest(places, groups, seed)

        def raw_scores(coming: Sequence[int]) -> list[float]:
            assert not {place // 3 for place in coming} & {place // 3 for place in places}
            return anew.raw_scores(coming)

        return Anew(anew.calibration, raw_scores)

    found = resampled(parts, 40, teach, 100)
    assert (found["parts_taught"], found["parts_to_come"]) == (40, 80)
    assert found["inside"] >= 95


def test_a_detector_that_learned_from_labels_too_is_refused() -> None:
    supervised = object.__new__(SupervisedDetector)
    with pytest.raises(ModelConfigurationWrong, match=r"supervised: given .* allowed: patchcore, anomalyclip"):
        look(supervised, [labelled_parts(1)[0].image])

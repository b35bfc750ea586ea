"""Where a part's score lies among known-good parts."""

from __future__ import annotations

from dataclasses import asdict

from workers.detectors.calibration import calibrate, score_of
from workers.labeling.distribution import BINS, distribution

GOOD = [float(score) for score in range(1, 41)]


def test_known_good_parts_lie_below_the_threshold_and_are_all_counted() -> None:
    calibration = calibrate(GOOD, 0.05, 0.05)
    found = distribution(asdict(calibration), score_of(calibration, 20.5))
    assert sum(found.good) == len(GOOD) and len(found.good) == BINS
    assert found.percentile == 50.0
    assert sum(found.good[BINS // 2 :]) <= 0.05 * len(GOOD) + 1


def test_the_images_of_one_part_weigh_as_one_part() -> None:
    groups = [f"part-{number // 2}" for number in range(len(GOOD))]
    calibration = calibrate(GOOD, 0.1, 0.05, groups)
    assert round(sum(distribution(asdict(calibration), 0.0).good), 6) == len(GOOD) / 2


def test_a_model_without_held_out_parts_has_no_percentile() -> None:
    calibration = {**asdict(calibrate(GOOD, 0.05, 0.05)), "good_raw_scores": [], "good_parts": []}
    found = distribution(calibration, 0.5)
    assert (sum(found.good), found.percentile) == (0, None)

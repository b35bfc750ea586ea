from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import betabinom, norm

from storage.errors import TeachingFailed
from workers.detectors.calibration import (
    anomaly_score,
    calibrate,
    false_reject_interval,
    false_rejects_to_come,
    observed_interval,
    parts_needed,
    percentile,
    promised,
    score_of,
)


def test_a_stricter_target_needs_more_held_out_parts() -> None:
    assert [parts_needed(rate) for rate in (0.5, 0.1, 0.05, 0.01)] == [1, 9, 19, 99]


def test_too_few_parts_are_refused_with_how_many_are_needed() -> None:
    with pytest.raises(TeachingFailed, match=r"18 held-out good parts.*needs 19") as caught:
        calibrate(range(18), 0.05, 0.05)
    assert (caught.value.needed, caught.value.given) == (19, 18)


def test_a_target_that_is_no_rate_is_refused() -> None:
    with pytest.raises(TeachingFailed, match="allowed: above 0, below 1"):
        parts_needed(0)


def test_the_threshold_keeps_the_promised_rate_over_many_calibrations() -> None:
    random = np.random.default_rng(0)
    rates = []
    for _ in range(2000):
        threshold = calibrate(random.normal(size=60).tolist(), 0.1, 0.05).raw_threshold
        rates.append(np.mean(random.normal(size=200) >= threshold))
    assert 0.08 < np.mean(rates) <= 0.103


def test_the_interval_holds_the_true_rate_of_nineteen_calibrations_in_twenty() -> None:
    random = np.random.default_rng(1)
    inside = []
    for _ in range(2000):
        calibration = calibrate(random.uniform(size=60).tolist(), 0.1, 0.05)
        low, high = calibration.false_reject_interval
        inside.append(low <= 1 - calibration.raw_threshold <= high)
    assert 0.935 < np.mean(inside) < 0.965


def several_views(random: np.random.Generator, parts: int, alike: float) -> tuple[list[float], list[str]]:
    """One to six images of each part, whose scores have something in common."""
    counts = random.integers(1, 7, parts)
    common = np.repeat(random.normal(size=parts), counts)
    own = random.normal(size=counts.sum())
    groups = np.repeat(np.arange(parts), counts).astype(str)
    return (alike**0.5 * common + (1 - alike) ** 0.5 * own).tolist(), groups.tolist()


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9, 1.0])
def test_with_several_images_a_part_the_promise_holds_for_parts_to_come(alike: float) -> None:
    random = np.random.default_rng(2)
    inside, rates = [], []
    for _ in range(2000):
        scores, groups = several_views(random, 40, alike)
        calibration = calibrate(scores, 0.1, 0.05, groups)
        low, high = calibration.false_reject_interval
        rates.append(norm.sf(calibration.raw_threshold))
        inside.append(low <= rates[-1] <= high)
    assert np.mean(rates) <= 0.102
    assert np.mean(inside) > 0.935


def test_images_of_one_part_do_not_count_as_parts() -> None:
    scores, groups = several_views(np.random.default_rng(3), 18, 0.5)
    with pytest.raises(TeachingFailed, match=r"18 held-out good parts.*needs 19"):
        calibrate(scores, 0.05, 0.05, groups)


def test_a_group_for_each_image_changes_nothing() -> None:
    scores = np.random.default_rng(4).normal(size=60).tolist()
    assert calibrate(scores, 0.1, 0.05, [str(number) for number in range(60)]) == calibrate(scores, 0.1, 0.05)


def test_the_promise_is_flat_where_it_is_exact_and_says_so_where_it_is_not() -> None:
    once, turned = (calibrate(range(100), 0.05, 0.05, by_turns=by_turns) for by_turns in (False, True))
    assert promised(once) == (
        "at most 0.05 of good parts are rejected on average, 0.0164 to 0.0993 with 95% confidence; calibrated on 100 "
        "held-out good ones"
    )
    assert promised(turned) == (
        "about 0.05 of good parts are rejected on average, 0.0164 to 0.0993 with 95% confidence; calibrated on 100 "
        "good ones, held out by turns: the model that judges knows them all, so this is near, not exact"
    )


def test_the_percentile_is_the_share_of_known_good_parts_that_score_lower() -> None:
    calibration = calibrate([float(score) for score in range(50)], 0.05, 0.1)
    assert [percentile(calibration, raw) for raw in (-1.0, 25.0, 49.5)] == [0.0, 50.0, 100.0]
    grouped = calibrate([0.0, 1.0, 2.0, 3.0], 0.5, 0.1, ["a", "a", "a", "b"])
    assert percentile(grouped, 2.5) == pytest.approx(50.0)


@pytest.mark.parametrize(("held_out", "parts"), [(19, 1), (63, 210), (80, 10_000), (999, 1000)])
def test_the_rejects_of_parts_to_come_are_counted_as_scipys_beta_binomial_does(held_out: int, parts: int) -> None:
    calibration = calibrate(range(held_out), 0.05, 0.05)
    rank = min(math.ceil((held_out + 1) * 0.95), held_out)
    expected = betabinom.ppf([0.005, 0.995], parts, held_out + 1 - rank, rank)
    assert list(false_rejects_to_come(calibration, parts)) == expected.tolist()


def test_the_rejects_of_parts_to_come_are_as_many_as_said_in_99_cases_of_100() -> None:
    random = np.random.default_rng(5)
    kept = []
    for _ in range(1000):
        calibration = calibrate(random.normal(size=60).tolist(), 0.1, 0.05)
        low, high = false_rejects_to_come(calibration, 200)
        kept.append(low <= (random.normal(size=200) >= calibration.raw_threshold).sum() <= high)
    assert np.mean(kept) >= 0.985


def test_more_parts_give_a_narrower_interval() -> None:
    few, many = false_reject_interval(40, 39), false_reject_interval(400, 390)
    assert many.high - many.low < few.high - few.low


def test_none_rejected_does_not_mean_none_ever() -> None:
    low, high = observed_interval(0, 60)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 60))  # the rule of three's exact form


def test_the_scale_is_strictly_monotone_with_the_threshold_at_one_half() -> None:
    calibration = calibrate(np.linspace(1, 2, 60).tolist(), 0.05, 0.1)
    raw = np.linspace(-50, 5000, 10001)
    scores = anomaly_score(calibration, raw)
    assert (np.diff(scores) > 0).all()
    assert scores.min() > 0
    assert scores.max() < 1
    assert score_of(calibration, calibration.raw_threshold) == 0.5
    assert score_of(calibration, calibration.raw_centre) == pytest.approx(0.25)


def test_a_part_as_bad_as_the_held_out_part_at_the_threshold_is_not_rejected() -> None:
    calibration = calibrate([float(score) for score in range(60)], 0.05, 0.1)
    assert score_of(calibration, 57.0) < 0.5 <= score_of(calibration, 57.0 + 1e-9)


def test_the_review_band_lies_below_the_ng_threshold() -> None:
    calibration = calibrate([float(score) for score in range(100)], 0.05, 0.1)
    held_out = np.array(calibration.good_raw_scores)
    band = (held_out >= calibration.raw_ok_threshold) & (held_out < calibration.raw_threshold)
    assert band.sum() == 10
    assert calibrate(range(100), 0.05, 0).raw_ok_threshold == calibrate(range(100), 0.05, 0).raw_threshold


def test_held_out_parts_that_all_score_the_same_still_give_a_scale() -> None:
    calibration = calibrate([3.0] * 40, 0.05, 0.05)
    assert score_of(calibration, 3.0) < 0.5 < score_of(calibration, 3.1)

"""Pixel AUROC and AUPRO against cases worked out by hand, and against a slow but literal definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from workers.datasets.pixel_metrics import Levels, PixelCounts, count_pixels
from workers.datasets.truth import regions

UNIT = Levels(0.0, 1.0)


def counted(anomaly_map: list[list[float]], mask: list[list[int]]) -> PixelCounts:
    return count_pixels(np.array(anomaly_map, np.float32), np.array(mask, np.bool_), UNIT)


def literal_aupro(scores: NDArray[np.float32], mask: NDArray[np.bool_], limit: float = 0.3) -> float:
    """Overlap with each defect at each threshold, one by one, as Bergmann et al. define it."""
    numbers = regions(mask)
    x, y = [0.0], [0.0]
    for threshold in sorted(set(scores.ravel().tolist()), reverse=True):
        found = scores >= threshold
        x.append(float(found[~mask].mean()))
        y.append(float(np.mean([found[numbers == one].mean() for one in range(1, numbers.max() + 1)])))
    at_limit = float(np.interp(limit, x, y))
    inside = [place for place, rate in enumerate(x) if rate < limit]
    xs, ys = [*(x[place] for place in inside), limit], [*(y[place] for place in inside), at_limit]
    return float(np.trapezoid(ys, xs) / limit)


def test_a_perfect_map_has_both_areas_at_one() -> None:
    counts = counted([[0.9, 0.1], [0.1, 0.1]], [[1, 0], [0, 0]])
    assert counts.auroc() == pytest.approx(1) and counts.aupro() == pytest.approx(1)


def test_a_map_that_says_the_same_everywhere_is_a_guess() -> None:
    counts = counted([[0.5] * 4] * 4, [[1, 0, 0, 0]] + [[0] * 4] * 3)
    assert counts.auroc() == pytest.approx(0.5)
    # The curve is the diagonal: the area below it up to 0.3 is 0.045, and 0.045 / 0.3 is 0.15.
    assert counts.aupro() == pytest.approx(0.15)


def test_a_small_defect_weighs_as_much_as_a_large_one_in_the_overlap_and_less_in_the_pixels() -> None:
    # The large defect (4 pixels) is found before any good pixel, the small one (1 pixel) after all of them.
    counts = counted(
        [[0.9, 0.9, 0.5, 0.5], [0.9, 0.9, 0.5, 0.1]],
        [[1, 1, 0, 0], [1, 1, 0, 1]],
    )
    assert counts.defects == 2
    assert counts.auroc() == pytest.approx(0.8)
    # Overlap is 1/2 from a false-positive rate of 0 to 1, so also up to 0.3.
    assert counts.aupro() == pytest.approx(0.5)


def test_the_overlap_is_cut_at_a_false_positive_rate_of_three_tenths() -> None:
    # One good pixel in ten is worse than the defect, which is then found whole: the curve goes from (0, 0) to (0.1, 0)
    # to (0.1, 1) and on at 1; of 0.3, 0.2 lie below it.
    anomaly_map = [[0.9] + [0.5] + [0.1] * 9]
    counts = counted(anomaly_map, [[0, 1] + [0] * 9])
    assert counts.aupro() == pytest.approx(0.2 / 0.3)
    assert counts.auroc() == pytest.approx(0.9)


def test_pixels_that_touch_at_a_corner_are_one_defect() -> None:
    counts = counted([[0.1] * 3] * 3, [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert counts.defects == 1


def test_good_images_add_good_pixels_and_nothing_else() -> None:
    defective = counted([[0.6, 0.2]], [[1, 0]])
    good = counted([[0.9, 0.9]], [[0, 0]])
    assert good.auroc() is None and good.aupro() is None
    both = defective + good
    assert both.defects == 1
    assert both.good.sum() == 3
    assert both.defective.sum() == 1
    assert both.auroc() == pytest.approx(1 / 3)


def test_a_map_is_enlarged_to_its_mask() -> None:
    mask = np.zeros((64, 64), np.bool_)
    mask[:32, :32] = True
    anomaly_map = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    counts = count_pixels(anomaly_map, mask, UNIT)
    assert counts.good.sum() + counts.defective.sum() == 64 * 64
    assert (counts.auroc() or 0) > 0.95


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12), st.floats(0.05, 0.6))
def test_both_areas_agree_with_their_definitions(seed: int, height: int, width: int, share: float) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((height, width)) < share
    mask[0, 0], mask[-1, -1] = True, False
    scores = (random.integers(0, 8, (height, width)) / 8).astype(np.float32)
    counts = count_pixels(scores, mask, UNIT)
    assert counts.auroc() == pytest.approx(float(roc_auc_score(mask.ravel(), scores.ravel())))
    assert counts.aupro() == pytest.approx(literal_aupro(scores, mask))

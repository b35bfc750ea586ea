"""Which region a person is offered to accept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.labeling.proposal import LARGEST_SHARE, standing_out

OK, NG = 0.4, 0.5


def spot(peak: float, usual: float = 0.2) -> NDArray[np.float32]:
    """(100, 100): a round spot in the middle, on level ground."""
    y, x = np.mgrid[0:100, 0:100]
    return np.asarray(usual + (peak - usual) * np.exp(-((x - 50) ** 2 + (y - 50) ** 2) / 60), np.float32)


def area(level: NDArray[np.float32]) -> int:
    (outline,) = standing_out(level, OK, NG)
    width, height = np.ptp(outline[:, 0, 0]), np.ptp(outline[:, 0, 1])
    return int(width * height)


def test_what_reaches_a_threshold_is_outlined_by_the_strictest_one_it_reaches() -> None:
    assert area(spot(0.9)) > area(spot(0.55))
    assert area(spot(0.48)) < area(spot(0.3)), "by the OK threshold, not by half its height"


def test_a_spot_below_every_threshold_is_outlined_at_half_its_height() -> None:
    assert 100 <= area(spot(0.3)) <= 250
    assert area(spot(0.3)) == area(spot(0.25)), "however high it is"


def test_where_no_threshold_says_how_far_it_goes_a_region_is_a_small_part_of_the_frame() -> None:
    random = np.random.default_rng(0)
    broad = (np.linspace(0.1, 0.3, 100)[None, :] + random.normal(0, 0.001, (100, 100))).astype(np.float32)
    assert sum(len(one) >= 3 for one in standing_out(broad, OK, NG)) >= 1
    assert (broad >= np.quantile(broad, 1 - LARGEST_SHARE)).mean() <= 1.1 * LARGEST_SHARE
    (outline, *_) = standing_out(broad, OK, NG)
    assert np.ptp(outline[:, 0, 0]) <= 100 * 1.2 * LARGEST_SHARE


def test_a_flat_map_has_no_region() -> None:
    assert standing_out(np.full((100, 100), 0.2, np.float32), OK, NG) == []
    assert standing_out(spot(0.203), OK, NG) == []

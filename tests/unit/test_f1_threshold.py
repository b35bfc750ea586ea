from __future__ import annotations

import numpy as np
from scipy.special import expit
from sklearn.metrics import f1_score

from workers.detectors.supervised_training import best_f1_threshold


def test_parts_to_come_are_told_apart_nearly_as_well_as_by_their_own_best_threshold() -> None:
    draw = np.random.default_rng(0)
    few, many = draw.normal(-1, 2, 300), draw.normal(-1, 2, 200_000)
    truth = draw.random(len(many)) < expit(many)
    best = max(f1_score(truth, many >= threshold) for threshold in np.linspace(-2, 2, 41))
    assert f1_score(truth, many >= best_f1_threshold(few, np.ones(300))) > best - 0.01


def test_where_defects_are_rarer_than_among_the_labels_the_threshold_is_that_of_the_parts_to_come() -> None:
    """Each good part stands for three: as if it had been there three times."""
    raw = np.array([4.0, 3.0, 1.0, 0.5, -0.5, -2.0])
    weights = np.array([1.0, 1.0, 3.0, 1.0, 3.0, 3.0])
    assert best_f1_threshold(raw, weights) == best_f1_threshold(np.repeat(raw, weights.astype(int)), np.ones(12))


def test_one_part_alone_and_parts_all_alike_have_a_threshold_too() -> None:
    assert best_f1_threshold(np.array([0.3]), np.ones(1)) == 0.3
    assert best_f1_threshold(np.full(5, -1.0), np.ones(5)) == -1.0

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from workers.retrain import resampling
from workers.retrain.resampling import Ranked


def pool() -> tuple[resampling.Truth, resampling.Floats]:
    """Half of the scores are rounded, so that many parts score alike."""
    random = np.random.default_rng(3)
    truth = random.random(150) < 0.3
    scores = random.normal(size=150) + truth
    scores[::2] = scores[::2].round(1)
    return truth, scores


def test_each_draw_has_the_figures_that_scikit_learn_finds_for_it() -> None:
    truth, scores = pool()
    weights = resampling.draws(truth, 20, seed=1)
    ranked = Ranked(truth, scores, weights)
    f1 = resampling.f1(truth, scores >= 1, weights)
    for number, weight in enumerate(weights):
        assert np.isclose(ranked.auroc()[number], roc_auc_score(truth, scores, sample_weight=weight))
        assert np.isclose(
            ranked.average_precision()[number], average_precision_score(truth, scores, sample_weight=weight)
        )
        assert np.isclose(f1[number], f1_score(truth, scores >= 1, sample_weight=weight))
        precision, recall, _ = precision_recall_curve(truth, scores, sample_weight=weight)
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
        assert np.isclose(ranked.best_f1()[number], best)


def test_a_threshold_at_a_rate_rejects_no_more_good_parts_than_that_and_the_next_would() -> None:
    truth, scores = pool()
    weights = resampling.draws(truth, 20, seed=1)
    for weight, threshold in zip(weights, Ranked(truth, scores, weights).thresholds_at(0.1), strict=True):
        good = weight * ~truth
        assert good[scores >= threshold].sum() <= 0.1 * good.sum()
        lower = scores[scores < threshold].max()
        assert good[scores >= lower].sum() > 0.1 * good.sum()


def test_draws_keep_both_kinds_and_are_repeatable() -> None:
    truth, _ = pool()
    weights = resampling.draws(truth, 50, seed=1)
    assert (weights @ truth == truth.sum()).all() and (weights[0] == 1).all()
    assert (weights == resampling.draws(truth, 50, seed=1)).all()


def test_wilson_has_the_published_interval() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, method 3
    low, high = resampling.wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)

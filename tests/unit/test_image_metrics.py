from __future__ import annotations

import numpy as np
import pytest

from workers.datasets.image_metrics import decision, observed, ranking

IS_ANOMALY = np.array([False, False, False, True, True])
SCORES = np.array([0.1, 0.2, 0.7, 0.6, 0.9])


def test_ranking_is_as_counted_by_hand() -> None:
    found = ranking(IS_ANOMALY, SCORES)
    # Of the 6 pairs of a good part and an anomaly, one is the wrong way round.
    assert found["image_auroc"] == pytest.approx(5 / 6)
    # Down the list: anomaly (precision 1, recall 1/2), good, anomaly (precision 2/3, recall 1).
    assert found["image_ap"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert found["f1_best"] == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))


def test_decisions_are_as_counted_by_hand() -> None:
    found = decision(IS_ANOMALY, SCORES >= 0.65)
    assert found["precision"] == pytest.approx(1 / 2) and found["recall"] == pytest.approx(1 / 2)
    assert found["f1"] == pytest.approx(1 / 2) and found["false_reject_rate"] == pytest.approx(1 / 3)


def test_nothing_rejected_has_a_precision_of_zero_and_no_warning() -> None:
    found = decision(IS_ANOMALY, np.zeros(5, np.bool_))
    assert found == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "false_reject_rate": 0.0}


def test_the_observed_interval_holds_the_observed_rate() -> None:
    low, high = observed(IS_ANOMALY, SCORES >= 0.65)
    assert 0 < low < 1 / 3 < high < 1

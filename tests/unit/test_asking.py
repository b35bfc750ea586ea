from __future__ import annotations

import numpy as np

from workers.detectors.asking import ask
from workers.detectors.detector import Prediction


def prediction(anomaly_score: float, *embedding: float) -> Prediction:
    look = np.array(embedding, np.float32) if embedding else None
    return Prediction(anomaly_score, anomaly_score, np.zeros((1, 1), np.float32), {}, look)


def test_the_most_uncertain_part_is_asked_first() -> None:
    candidates = [prediction(0.1, 0.0), prediction(0.52, 0.0), prediction(0.9, 0.0)]
    assert ask(candidates, 1, threshold=0.5) == [1]


def test_of_two_alike_only_one_is_asked() -> None:
    candidates = [prediction(0.50, 1, 1), prediction(0.51, 1, 1), prediction(0.55, 5, 0), prediction(0.99, 9, 9)]
    assert ask(candidates, 2, threshold=0.5) == [0, 3]


def test_a_part_far_from_the_threshold_is_not_asked_however_odd_it_looks() -> None:
    near = [prediction(0.5 + number / 1000, number % 3, 0) for number in range(6)]
    assert 6 not in ask([*near, prediction(0.01, 1000, 1000)], 2, threshold=0.5)


def test_what_is_labelled_already_is_not_asked_again() -> None:
    candidates = [prediction(0.50, 1, 1), prediction(0.51, 2, 7)]
    assert ask(candidates, 1, threshold=0.5, labelled=[prediction(0.5, 1, 1)]) == [1]


def test_all_are_asked_once_when_there_are_few() -> None:
    candidates = [prediction(0.5, 1, 1), prediction(0.5, 1, 1), prediction(0.4, 2, 2)]
    assert sorted(ask(candidates, 9, threshold=0.5)) == [0, 1, 2]
    assert ask([], 9, threshold=0.5) == []


def test_without_embeddings_nearness_decides() -> None:
    candidates = [prediction(0.9), prediction(0.45), prediction(0.6)]
    assert ask(candidates, 2, threshold=0.5) == [1, 2]

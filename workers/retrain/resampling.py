"""Figures of many resampled pools at once, and the intervals they give.

Parts are drawn with replacement, good and defective ones each as often as there are (Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, chapters 6 and 13). Two models are compared on the same draws: then what is hard
about a pool cancels out. In all functions weights are (draws, parts): how often each part is in each drawn pool.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
Z: Final = 1.959963984540054

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]


class Interval(NamedTuple):
    """Where a figure lies with 95 % confidence."""

    low: float
    high: float


def draws(is_anomaly: Truth, count: int, seed: int) -> Floats:
    """(1 + count, parts): the pool itself first, then so many drawn ones."""
    random = np.random.default_rng(seed)
    weights = np.ones((1 + count, len(is_anomaly)))
    for kind in (True, False):
        places = np.flatnonzero(is_anomaly == kind)
        if len(places):
            weights[1:, places] = random.multinomial(len(places), np.full(len(places), 1 / len(places)), count)
    return weights


def interval(values: Floats) -> Interval:
    """Of the drawn pools' values; the first value is the pool's own."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values[1:], [tail, 100 - tail])
    return Interval(float(low), float(high))


def wilson(count: int, of: int) -> Interval:
    """Of a rate; E. B. Wilson, JASA 22 (1927)."""
    if of == 0:
        return Interval(0.0, 1.0)
    rate, shrink = count / of, Z * Z / of
    centre = (rate + shrink / 2) / (1 + shrink)
    half = Z / (1 + shrink) * math.sqrt(rate * (1 - rate) / of + shrink / (4 * of))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def share(of: Truth, among: Truth, weights: Floats) -> Floats:
    """How much of `among` is also in `of`; 0 of nothing."""
    return ratio(weights @ (of & among), weights @ among)


def ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def f1(is_anomaly: Truth, rejected: Truth, weights: Floats) -> Floats:
    hits, wrong = weights @ (is_anomaly & rejected), weights @ (is_anomaly ^ rejected)
    return ratio(2 * hits, 2 * hits + wrong)


class Ranked:
    """Scores in falling order: what each possible threshold would reject, in every drawn pool."""

    def __init__(self, is_anomaly: Truth, scores: Floats, weights: Floats) -> None:
        order = np.argsort(-scores, kind="stable")
        self.scores = scores[order]
        self.last = np.flatnonzero(np.append(self.scores[1:] != self.scores[:-1], True))  # parts alike stay together
        ordered = weights[:, order]
        self.caught = np.cumsum(ordered * is_anomaly[order], axis=1)[:, self.last]  # (draws, thresholds)
        self.false = np.cumsum(ordered * ~is_anomaly[order], axis=1)[:, self.last]
        self.anomalies, self.good = weights @ is_anomaly, weights @ ~is_anomaly

    def auroc(self) -> Floats:
        steps = np.diff(self.false, axis=1, prepend=0)
        before = np.concatenate([np.zeros((len(steps), 1)), self.caught[:, :-1]], axis=1)
        return ratio((steps * (self.caught + before)).sum(axis=1) / 2, self.anomalies * self.good)

    def average_precision(self) -> Floats:
        gained = np.diff(self.caught, axis=1, prepend=0)
        return ratio((gained * ratio(self.caught, self.caught + self.false)).sum(axis=1), self.anomalies)

    def best_f1(self) -> Floats:
        return np.asarray(ratio(2 * self.caught, self.caught + self.false + self.anomalies[:, None]).max(axis=1))

    def thresholds_at(self, false_reject_rate: float) -> Floats:
        """The lowest score from which on at most this share of the good parts is rejected; infinite when none is."""
        allowed = self.false <= false_reject_rate * self.good[:, None] + 1e-9
        count = allowed.sum(axis=1)
        return np.where(count > 0, self.scores[self.last][np.maximum(count, 1) - 1], np.inf)


def caught_from(thresholds: Floats, scores: Floats, among: Truth, weights: Floats) -> Floats:
    """How much of `among` scores at or above each draw's own threshold."""
    chosen = np.flatnonzero(among)
    drawn = weights[:, chosen]
    return ratio((drawn * (scores[chosen] >= thresholds[:, None])).sum(axis=1), drawn.sum(axis=1))

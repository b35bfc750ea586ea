"""How raw scores of held-out known-good parts become thresholds: conformal prediction, for any distribution of scores.

Vovk, "Conditional validity of inductive conformal predictors", ACML 2012: with n held-out good parts and the k-th
smallest of their scores as the threshold, the false-reject rate of the parts to come is Beta(n + 1 - k, k). That is
exact where one model scores both.

Barber, Candes, Ramdas, Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 2021: where parts
are held out by turns, each scored by a model of the other folds and the parts to come by a model of all, it holds as
far as a fold more or less hardly changes a score. Without that there is no guarantee: who knows more parts finds those
to come rather less odd, and then fewer are rejected than was said. How well it holds is measured
(workers/datasets/resampling.py).

Lee, Barber, Willett, "Distribution-free inference with hierarchical data", 2023: where a part was held out with several
images, they share its weight of one, and the threshold is where the weights reach k. An image of a part to come is then
still rejected with at most the target rate. The interval counts parts, as if the images of a part were all alike:
they tell more than that, so the interval is rather too wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.errors import TeachingFailed
from workers.detectors.detector import Calibration

CONFIDENCE = 0.95
TO_COME_CONFIDENCE = 0.99  # of counts: kept in 95 of 100 lots at least, bad luck among the hundred included
BY_TURNS = "held out by turns: the model that judges knows them all, so this is near, not exact"
SMALLEST_SPREAD = 1e-6  # of the threshold; a camera that shows one picture gives held-out scores without a spread


class Counts(NamedTuple):
    """From and to, both included."""

    low: int
    high: int


class Interval(NamedTuple):
    low: float
    high: float


def calibrate(
    good_raw_scores: Sequence[float],
    target_false_reject_rate: float,
    review_share: float,
    groups: Sequence[str] | None = None,
    *,
    by_turns: bool = False,
) -> Calibration:
    """Thresholds that reject the target share of good parts, and send the review share of them to an operator.

    groups: one for each score; images of one part have the same. Without them each score is of a part of its own.
    by_turns: the scores are not all by the model that judges, see `Calibration`.
    """
    order = np.argsort(good_raw_scores, kind="stable")
    scores = np.asarray(good_raw_scores, dtype=np.float64)[order]
    numbers = np.arange(len(scores)) if groups is None else np.unique(groups, return_inverse=True)[1][order]
    reached = np.cumsum(weights(numbers))
    count = len(np.unique(numbers))
    rank = threshold_rank(count, target_false_reject_rate)
    review_rank = rank_of(count, min(target_false_reject_rate + review_share, 1.0))
    raw_threshold, raw_ok_threshold = (above(scores[place_of(reached, one)]) for one in (rank, review_rank))
    return Calibration(
        good_raw_scores=tuple(scores.tolist()),
        target_false_reject_rate=target_false_reject_rate,
        review_share=review_share,
        raw_centre=float(np.median(scores)),
        raw_threshold=raw_threshold,
        raw_ok_threshold=raw_ok_threshold,
        false_reject_interval=false_reject_interval(count, rank),
        good_parts=() if count == len(scores) else tuple(numbers.tolist()),
        by_turns=by_turns,
    )


def weights(parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each part weighs one, its images share it."""
    return np.asarray(1 / np.bincount(parts)[parts])


def place_of(reached: NDArray[np.float64], rank: int) -> int:
    """Where the weights first reach the rank; thirds may add up to a little less than one."""
    return int(np.searchsorted(reached, rank - 1e-6))


def percentile(calibration: Calibration, raw: float) -> float | None:
    """How many per cent of the held-out known-good parts score lower: comparable between model versions.

    None where no part was held out.
    """
    scores = np.asarray(calibration.good_raw_scores)
    if not len(scores):
        return None
    share = weights(np.asarray(calibration.good_parts or range(len(scores))))
    return float(100 * share[scores < raw].sum() / share.sum())


def comparable(calibration: Calibration, raw: float) -> dict[str, float]:
    """What is recorded beside a score so that it can be held against another model's: see `percentile`."""
    percent = percentile(calibration, raw)
    return {} if percent is None else {"percentile_of_good": percent}


def anomaly_score(calibration: Calibration, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Strictly rising, in (0, 1): 0.25 is the median known-good part, 0.5 the NG threshold, 0.75 as far beyond it."""
    distance = (raw - calibration.raw_threshold) / spread(calibration)
    # Not a logistic: that one is exactly 1.0 from 37 spreads on, and the worst parts could not be told apart.
    return np.asarray(0.5 + 0.5 * distance / (1 + np.abs(distance)))


def score_of(calibration: Calibration, raw: float) -> float:
    """One raw score on the anomaly_score scale."""
    return float(anomaly_score(calibration, np.array([raw]))[0])


def spread(calibration: Calibration) -> float:
    """From the median known-good part to the threshold: the unit of the scale."""
    smallest = SMALLEST_SPREAD * max(abs(calibration.raw_threshold), 1.0)
    return max(calibration.raw_threshold - calibration.raw_centre, smallest)


def promised(calibration: Calibration) -> str:
    """What may be said of false rejects, in a sentence; flatly only where it holds exactly."""
    if not calibration.good_raw_scores:
        return "zero-shot, no known-good part seen: nothing is promised about false rejects"
    target, parts = calibration.target_false_reject_rate, held_out_parts(calibration)
    low, high = calibration.false_reject_interval
    said = (
        f"{target:.3g} of good parts are rejected on average, {low:.3g} to {high:.3g} with {CONFIDENCE:.0%} confidence"
    )
    if not calibration.by_turns:
        return f"at most {said}; calibrated on {parts} held-out good ones"
    return f"about {said}; calibrated on {parts} good ones, {BY_TURNS}"


def held_out_parts(calibration: Calibration) -> int:
    """Parts, not images."""
    return len(set(calibration.good_parts)) or len(calibration.good_raw_scores)


def rejected_parts(calibration: Calibration, ng_threshold: float) -> float:
    """How many of the held-out good parts score at or above this anomaly_score; a part's images share its one."""
    scores = anomaly_score(calibration, np.asarray(calibration.good_raw_scores))
    share = weights(np.asarray(calibration.good_parts or range(len(scores))))
    return float(share[scores >= ng_threshold].sum())


def parts_needed(target_false_reject_rate: float) -> int:
    """The fewest held-out good parts whose worst score can be a threshold for this rate."""
    if not 0 < target_false_reject_rate < 1:
        raise TeachingFailed(f"target_false_reject_rate is {target_false_reject_rate}; allowed: above 0, below 1")
    return math.ceil(round((1 - target_false_reject_rate) / target_false_reject_rate, 9))


def threshold_rank(parts: int, target_false_reject_rate: float) -> int:
    """Which of the sorted scores is the threshold (from 1), with the finite-sample correction."""
    needed = parts_needed(target_false_reject_rate)
    if parts < needed:
        raise TeachingFailed(
            f"{parts} held-out good parts were given; "
            f"a false-reject rate of {target_false_reject_rate:g} needs {needed}",
            needed=needed,
            given=parts,
        )
    return rank_of(parts, target_false_reject_rate)


def rank_of(parts: int, rate: float) -> int:
    return min(max(math.ceil(round((parts + 1) * (1 - rate), 9)), 1), parts)


def above(score: float) -> float:
    """A part as bad as the held-out one is still passed: it is rejected at or above the threshold."""
    return math.nextafter(score, math.inf)


def false_reject_interval(parts: int, rank: int, confidence: float = CONFIDENCE) -> Interval:
    """Where the false-reject rate of the parts to come lies, known from the held-out parts alone."""
    from scipy.special import betaincinv  # half a second to import

    tail = (1 - confidence) / 2
    low, high = betaincinv(parts + 1 - rank, rank, [tail, 1 - tail])
    return Interval(float(low), float(high))


def false_rejects_to_come(calibration: Calibration, parts: int, confidence: float = TO_COME_CONFIDENCE) -> Counts:
    """How many of so many good parts to come are rejected, whatever the distribution of their scores: beta-binomial.

    The false_reject_interval is that of the long run; a shift's rejects also scatter around their rate.
    """
    from scipy.special import betaln, gammaln  # not scipy.stats: that takes a second to import

    count = held_out_parts(calibration)
    rank = rank_of(count, calibration.target_false_reject_rate)
    rejected = np.arange(parts + 1)
    ways = gammaln(parts + 1) - gammaln(rejected + 1) - gammaln(parts - rejected + 1)
    likely = np.exp(
        ways + betaln(rejected + count + 1 - rank, parts - rejected + rank) - betaln(count + 1 - rank, rank)
    )
    at_most, tail = np.cumsum(likely), (1 - confidence) / 2
    low, high = np.searchsorted(at_most, [tail, 1 - tail])
    return Counts(int(low), min(int(high), parts))


def observed_interval(rejected: int, parts: int, confidence: float = CONFIDENCE) -> Interval:
    """Clopper-Pearson: where the rate lies when so many of these good parts were rejected."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if rejected == 0 else float(betaincinv(rejected, parts - rejected + 1, tail))
    high = 1.0 if rejected == parts else float(betaincinv(rejected + 1, parts - rejected, 1 - tail))
    return Interval(low, high)

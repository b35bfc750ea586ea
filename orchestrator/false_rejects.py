"""Which share of a station's good parts is rejected, as the random samples of its parts tell it. Pure."""

from __future__ import annotations

from typing import Final

from storage.estimates import Reviewed, StationCounts
from storage.events import Verdict
from workers.detectors.calibration import Interval, observed_interval

EACH: Final = 0.975
"""The confidence in each of two samples with which both hold at 95 %."""


def false_rejects(counts: StationCounts) -> tuple[float, Interval] | None:
    """The share and where it lies with 95 % confidence; None before a part of either sample is decided.

    Good parts are rejected, passed or held back for review. How many were rejected and how many passed the samples
    tell, each weighted with all parts that it stands for. Of the parts held back the least certain may be decided
    first: the interval takes those that nobody decided yet for all good and for all bad.
    """
    rejected, passed, held_back = counts.rejected, counts.passed, counts.held_back
    if not rejected.decided or not passed.decided:
        return None
    all_rejected, all_passed = counts.verdicts[Verdict.NG], counts.all_passed
    r, p = between(rejected), between(passed)
    undecided = held_back.parts - held_back.decided
    guess = held_back.normal / held_back.decided if held_back.decided else 0.5
    told = share(
        all_rejected * rejected.normal / rejected.decided,
        all_passed * passed.normal / passed.decided + held_back.normal + undecided * guess,
    )
    low = share(all_rejected * r.low, all_passed * p.high + held_back.normal + undecided)
    return told, Interval(low, share(all_rejected * r.high, all_passed * p.low + held_back.normal))


def between(sample: Reviewed) -> Interval:
    return observed_interval(sample.normal, sample.decided, EACH)


def share(good_rejected: float, other_good: float) -> float:
    return good_rejected / (good_rejected + other_good) if good_rejected else 0.0

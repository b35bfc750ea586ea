"""Which share of good parts is rejected, as random samples tell it: held against lines whose truth is known."""

from __future__ import annotations

from random import Random

import pytest

from orchestrator.false_rejects import false_rejects
from storage.estimates import Reviewed, StationCounts
from storage.events import Verdict


def drawn(random: Random, parts: int, good: float, rate: float) -> tuple[int, Reviewed]:
    """How many of the parts are good, and what people say of a sample of them."""
    truth = [random.random() < good for _ in range(parts)]
    told = [one for one in truth if random.random() < rate]
    return sum(truth), Reviewed(len(told), sum(told), len(told) - sum(told))


def line(random: Random) -> tuple[float, StationCounts]:
    """The true share, and a station of which the surest REVIEW parts were not decided: of those more are good."""
    good_ng, rejected = drawn(random, 400, 0.3, 0.25)
    good_ok, passed = drawn(random, 4000, 0.98, 0.02)
    good_near, told = drawn(random, 100, 0.5, 1.0)
    good_far, _ = drawn(random, 100, 0.9, 0.0)
    held_back = Reviewed(200, told.normal, told.anomalous)
    verdicts: dict[str, int] = {}
    verdicts |= {Verdict.NG: 400, Verdict.OK: 4000 - passed.parts, Verdict.REVIEW: 200 + passed.parts, Verdict.ERROR: 0}
    counts = StationCounts("press", verdicts, 0, passed, rejected, held_back)
    return good_ng / (good_ng + good_ok + good_near + good_far), counts


def test_the_true_share_is_inside_the_interval_as_often_as_promised() -> None:
    random, inside, errors = Random(0), 0, []
    for _ in range(300):
        truth, counts = line(random)
        told = false_rejects(counts)
        assert told is not None
        share, (low, high) = told
        assert low <= share <= high
        inside += low <= truth <= high
        errors.append(share / truth - 1)
    assert inside >= 0.95 * 300
    assert abs(sum(errors) / len(errors)) < 0.03, "and the estimate does not lean to one side"


@pytest.mark.parametrize("missing", ["rejected", "passed"])
def test_without_a_decided_part_of_either_sample_nothing_is_told(missing: str) -> None:
    _, counts = line(Random(0))
    setattr(counts, missing, Reviewed(parts=5))
    assert false_rejects(counts) is None


def test_where_no_sampled_reject_was_good_the_share_may_still_be_more_than_none() -> None:
    _, counts = line(Random(0))
    counts.rejected = Reviewed(30, 0, 30)
    told = false_rejects(counts)
    assert told is not None
    share, (low, high) = told
    assert share == low == 0 and 0 < high < 0.02

"""When a canary is taken back."""

from __future__ import annotations

import numpy as np
import pytest

from storage.events import new_id
from workers.inference.canary import LEVEL, Judged, drifted, two_proportions
from workers.inference.verdict import CANARY_BITS, SHADOW_BITS, drawn, sampled


@pytest.mark.parametrize(
    ("counts", "p_value"),
    [((3, 10, 3, 10), 1.0), ((8, 10, 1, 10), 0.00548), ((0, 50, 10, 50), 0.00119), ((12, 100, 240, 1000), 0.00575)],
)
def test_fishers_exact_test_as_other_programs_compute_it(counts: tuple[int, int, int, int], p_value: float) -> None:
    assert two_proportions(*counts) == pytest.approx(p_value, rel=0.01)


def test_a_canary_like_its_shadow_stays_although_the_champion_judges_otherwise() -> None:
    shadow, canary = Judged(ok=700, review=150, ng=150), Judged(ok=140, review=30, ng=30)
    assert drifted(canary, Judged(ok=990, ng=10), shadow) is None


def test_a_canary_unlike_its_shadow_goes_back_and_says_why() -> None:
    shadow, canary = Judged(ok=950, review=25, ng=25), Judged(ok=60, ng=40)
    why = drifted(canary, Judged(ok=95, ng=5), shadow)
    assert why is not None
    assert "NG: 40 of 100 parts (40.0%), in the shadow 25 of 1000 (2.5%)" in why


def test_without_a_shadow_the_champion_is_what_it_is_measured_by() -> None:
    why = drifted(Judged(ok=60, ng=40), Judged(ok=480, ng=20), Judged(ok=3))
    assert why is not None and "by the champion 20 of 500" in why


def test_a_canary_that_cannot_score_goes_back() -> None:
    same = Judged(ok=500)
    why = drifted(Judged(ok=60, error=10), Judged(ok=500), same)
    assert why is not None and why.startswith("ERROR: 10 of 70 parts")


def test_too_few_parts_tell_nothing() -> None:
    assert drifted(Judged(ng=49), Judged(ok=1000), Judged(ok=1000)) is None


def test_a_canary_that_is_what_it_was_is_seldom_taken_back() -> None:
    """2,000 canaries with the rates of their shadows: of each the last look, at 200 parts."""
    random = np.random.default_rng(7)
    rates = [0.9, 0.06, 0.04]
    taken = 0
    for canary, shadow in zip(random.multinomial(200, rates, 2000), random.multinomial(800, rates, 2000), strict=True):
        taken += drifted(Judged(*map(int, canary)), Judged(ok=800), Judged(*map(int, shadow))) is not None
    assert taken <= 2000 * LEVEL * 3


def test_the_draws_do_not_depend_on_one_another() -> None:
    ids = [new_id() for _ in range(4000)]
    canary = [one for one in ids if drawn(one, 0.25, CANARY_BITS)]
    assert 0.2 < len(canary) / len(ids) < 0.3
    for share in (sum(sampled(one, 0.5) for one in canary), sum(drawn(one, 0.5, SHADOW_BITS) for one in canary)):
        assert 0.4 < share / len(canary) < 0.6
    assert all(drawn(one, 1.0, CANARY_BITS) for one in ids)
    assert not any(drawn(one, 0.0, CANARY_BITS) for one in ids)

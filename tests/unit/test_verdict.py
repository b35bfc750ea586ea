"""From scores to verdicts: worse is never judged better, and what was not scored is never OK."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from storage.events import PredictionFacts, ReviewReason, Verdict, new_id
from workers.inference.verdict import decide, sampled

SCORES = st.floats(0, 1)
RANK = {Verdict.OK: 0, Verdict.REVIEW: 1, Verdict.NG: 2}
IDS = st.uuids()


def said(score: float, ok: float = 0.4, ng: float = 0.6, camera: str = "top") -> PredictionFacts:
    """Not checked, so that it may be what no event can hold."""
    return PredictionFacts.model_construct(
        camera=camera,
        sha256="0" * 64,
        model_version="m",
        anomaly_score=score,
        raw_score=score,
        ok_threshold=ok,
        ng_threshold=ng,
    )


THRESHOLDS = st.tuples(SCORES, SCORES).map(sorted)
VIEWS = st.builds(lambda score, limits: said(score, limits[0], limits[1]), SCORES, THRESHOLDS)


@given(IDS, SCORES, SCORES, THRESHOLDS, st.sampled_from([0.0, 1.0]))
def test_a_worse_score_is_never_judged_better(
    id: UUID, one: float, other: float, limits: list[float], rate: float
) -> None:
    better, worse = (decide(id, [said(score, limits[0], limits[1])], rate).verdict for score in sorted((one, other)))
    assert RANK[better] <= RANK[worse]


@given(IDS, st.lists(VIEWS, min_size=1, max_size=5), VIEWS)
def test_another_view_never_makes_a_part_better(id: UUID, views: list[PredictionFacts], more: PredictionFacts) -> None:
    assert RANK[decide(id, views, 0.0).verdict] <= RANK[decide(id, [*views, more], 0.0).verdict]


@given(IDS, st.lists(VIEWS, min_size=1, max_size=5), st.randoms())
def test_the_order_of_the_views_does_not_matter(id: UUID, views: list[PredictionFacts], random: object) -> None:
    shuffled = sorted(views, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert decide(id, views, 0.0).verdict is decide(id, shuffled, 0.0).verdict


@given(IDS, st.lists(VIEWS, max_size=3), st.sampled_from(["score", "ok", "ng", "low", "high"]))
def test_what_cannot_be_scored_is_never_ok(id: UUID, views: list[PredictionFacts], wrong: str) -> None:
    nan = float("nan")
    broken = {
        "score": said(nan),
        "ok": said(0.1, ok=nan),
        "ng": said(0.1, ng=nan),
        "low": said(-0.1),
        "high": said(float("inf")),
    }[wrong]
    assert decide(id, [*views, broken], 1.0).verdict is Verdict.ERROR


def test_a_part_without_views_is_an_error() -> None:
    assert decide(new_id(), [], 1.0).verdict is Verdict.ERROR


def test_the_thresholds_themselves_are_on_the_careful_side() -> None:
    assert decide(new_id(), [said(0.4)], 0.0).verdict is Verdict.REVIEW
    assert decide(new_id(), [said(0.6)], 0.0).verdict is Verdict.NG
    assert decide(new_id(), [said(0.5, ok=0.5, ng=0.5)], 0.0).verdict is Verdict.NG


@given(IDS, VIEWS, SCORES)
def test_only_ok_parts_are_sampled(id: UUID, view: PredictionFacts, rate: float) -> None:
    without, decision = decide(id, [view], 0.0), decide(id, [view], rate)
    if decision.review_reason is ReviewReason.SAMPLED:
        assert (without.verdict, decision.verdict) == (Verdict.OK, Verdict.REVIEW)
    else:
        assert decision == without


def test_the_sample_has_its_size_and_is_the_same_again() -> None:
    ids = [new_id() for _ in range(20_000)]
    for rate in (0.02, 0.3):
        chosen = [id for id in ids if sampled(id, rate)]
        deviation = (rate * (1 - rate) / len(ids)) ** 0.5
        assert abs(len(chosen) / len(ids) - rate) < 6 * deviation
        assert chosen == [id for id in ids if sampled(id, rate)]
    assert not any(sampled(id, 0.0) for id in ids) and all(sampled(id, 1.0) for id in ids)


def test_ids_sort_by_the_time_they_were_made_and_are_version_seven() -> None:
    ids = [new_id() for _ in range(1000)]
    assert [id.int >> 80 for id in ids] == sorted(id.int >> 80 for id in ids)
    assert len(set(ids)) == 1000
    assert all(id.version == 7 and id.variant == "specified in RFC 4122" for id in ids)


def test_both_samples_are_one_draw_of_all_parts_and_a_sampled_ng_part_stays_ng() -> None:
    """With one rate the same parts are drawn, whatever the model says of them: a pool of them is fair."""
    ids = [new_id() for _ in range(400)]
    drawn = {score: [decide(one, [said(score)], 0.3, 0.3) for one in ids] for score in (0.1, 0.9)}
    chosen = {score: [found.review_reason is not None for found in all_] for score, all_ in drawn.items()}
    assert chosen[0.1] == chosen[0.9] and 60 < sum(chosen[0.9]) < 180
    assert {found.verdict for found in drawn[0.9]} == {Verdict.NG}
    assert all(decide(one, [said(0.9)], 1.0).review_reason is None for one in ids)

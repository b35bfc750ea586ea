from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from storage.errors import PoolsDiffer
from workers.retrain.evaluation import Evaluation, recorded
from workers.retrain.gate import GatePolicy, decide
from workers.retrain.pool import Scored

POLICY = GatePolicy(resamples=400)


def evaluation(
    model: str, sharpness: float, *, good: int = 190, scratched: int = 50, seed: int = 0, slow: float = 1.0
) -> Evaluation:
    """Good parts around .25, scratched ones `sharpness` above; the same noise for every model, as the parts are."""
    random = np.random.default_rng(seed)
    images = []
    for number in range(good + scratched):
        bad = number >= good
        score = float(np.clip(0.25 + 0.1 * random.standard_normal() + bad * sharpness, 0, 1))
        images.append(
            Scored(
                name=f"image-{number}",
                part=f"part-{number}",
                is_anomaly=bad,
                defects=("scratch",) if bad else (),
                anomaly_score=score,
                milliseconds=20.0 * slow,
                disturbed={"darker": score} if number % 5 == 0 else {},
            )
        )
    return Evaluation(model, 0.42, 0.5, 0.05, (0.02, 0.09), tuple(images))


def with_scores(found: Evaluation, scores: Mapping[str, float | None]) -> Evaluation:
    images = tuple(replace(one, anomaly_score=scores.get(one.name, one.anomaly_score)) for one in found.images)
    return replace(found, images=images)


def test_a_better_candidate_is_promoted_and_the_sentence_says_by_how_much() -> None:
    decision = decide(evaluation("old", 0.3), evaluation("new", 0.5), POLICY)
    assert decision.promoted
    assert decision.sentence.startswith("promoted: F1 on 240 protected parts rose from .")
    assert "against the promised 5 %" in decision.sentence
    assert all(check.passed for check in decision.checks)


def test_the_same_model_again_is_no_better() -> None:
    decision = decide(evaluation("old", 0.3), evaluation("new", 0.3), POLICY)
    assert not decision.promoted
    assert decision.sentence.startswith("not yet: no worse, and not surely better: F1 on 240 protected parts")


def test_a_class_that_gets_worse_is_named_with_its_parts() -> None:
    champion = evaluation("old", 0.5)
    lost = [one.name for one in champion.images if one.is_anomaly][:5]
    decision = decide(champion, with_scores(champion, dict.fromkeys(lost, 0.1)), POLICY)
    assert not decision.promoted
    assert decision.sentence.startswith("not yet: scratch recall fell from 1.000 to .900 on 50 parts")
    (check,) = [one for one in decision.checks if one.name == "scratch recall"]
    assert check.interval.low < check.after - check.before < check.interval.high


def test_a_single_lost_part_of_a_class_is_no_evidence() -> None:
    champion = evaluation("old", 0.5, scratched=20)
    lost = next(one.name for one in champion.images if one.is_anomaly)
    decision = decide(champion, with_scores(champion, {lost: 0.1}), POLICY)
    assert next(one for one in decision.checks if one.name == "scratch recall").passed


def test_more_false_rejects_than_promised_are_not_bought_with_fewer_escapes() -> None:
    champion, candidate = evaluation("old", 0.3), evaluation("new", 0.5)
    assert not decide(champion, replace(candidate, ok_threshold=0.2, ng_threshold=0.3), POLICY).promoted


def test_a_part_that_cannot_be_scored_is_never_passed() -> None:
    champion = evaluation("old", 0.3)
    candidate = with_scores(evaluation("new", 0.5), {"image-0": None})
    decision = decide(champion, candidate, POLICY)
    assert candidate.rejected[0] and not candidate.passed[0]
    assert not decision.promoted and "1 protected images cannot be scored, 0 before" in decision.sentence


def test_a_part_is_as_bad_as_its_worst_image() -> None:
    found = evaluation("old", 0.3)
    two = replace(found.images[0], name="other view", anomaly_score=0.9)
    seen = replace(found, images=(*found.images, two))
    assert len(seen.parts) == 240 and seen.scores[0] == 0.9


def test_too_small_a_pool_decides_nothing() -> None:
    decision = decide(evaluation("old", 0.3, scratched=12), evaluation("new", 0.5, scratched=12), POLICY)
    assert decision.sentence == "not yet: the protected pool has 12 defective parts; a decision needs at least 20"


def test_a_slow_candidate_is_not_promoted() -> None:
    decision = decide(evaluation("old", 0.3), evaluation("new", 0.5, slow=4.0), POLICY)
    assert decision.sentence == "not yet: an image takes 4.0 times as long (80.0 ms, before 20.0 ms)"


def test_models_are_compared_on_the_same_parts_only() -> None:
    with pytest.raises(PoolsDiffer, match="not the same ones"):
        decide(evaluation("old", 0.3), evaluation("new", 0.3, good=100), POLICY)


def test_an_evaluation_is_read_back_from_its_record_and_decides_the_same() -> None:
    champion, candidate = evaluation("old", 0.3), evaluation("new", 0.5)
    again = decide(recorded(champion.record()), recorded(candidate.record()), POLICY)
    assert again == decide(champion, candidate, POLICY)
    assert recorded(champion.record()) == champion


def with_changes(found: Evaluation, change: Callable[[Scored], Scored]) -> Evaluation:
    return replace(found, images=tuple(change(one) for one in found.images))


def test_what_light_or_focus_would_make_wrong_is_not_bought_with_better_figures() -> None:
    """Half of the disturbed defective parts are passed; on the images as they are it is better than the champion."""

    def blinded(one: Scored) -> Scored:
        blind = one.is_anomaly and int(one.name.split("-")[1]) % 2 == 0
        return replace(one, disturbed={name: 0.1 if blind else score for name, score in one.disturbed.items()})

    decision = decide(evaluation("old", 0.4), with_changes(evaluation("new", 0.5), blinded), POLICY)
    assert not decision.promoted
    assert decision.sentence.startswith("not yet: right decisions on darker images fell from ")


def test_good_parts_that_a_disturbance_turns_bad_are_counted() -> None:
    def shaky(one: Scored) -> Scored:
        bad = not one.is_anomaly and int(one.name.split("-")[1]) % 10 == 0
        return replace(one, disturbed={name: 0.9 if bad else score for name, score in one.disturbed.items()})

    policy = replace(POLICY, disturbance_margin=0.3)
    decision = decide(evaluation("old", 0.4), with_changes(evaluation("new", 0.5), shaky), policy)
    assert not decision.promoted
    assert "the share of good parts turned bad by a disturbance rose from " in decision.sentence


def test_a_lower_auroc_is_refused_though_the_thresholds_decide_the_same() -> None:
    """Ten good parts score highest of those that are not rejected, and thirty defective ones lowest of the rejected."""
    champion = evaluation("old", 0.5)
    worse = {one.name: 0.98 for one in champion.images[:8]}
    lower = {one.name: 0.5 for one in champion.images if one.is_anomaly}
    policy = replace(POLICY, class_margin=1.0, margin=0.02)
    before = with_scores(champion, dict.fromkeys(worse, 0.5) | dict.fromkeys(lower, 0.9))
    decision = decide(before, with_scores(champion, worse | lower), policy)
    failed = [check.name for check in decision.checks if not check.passed]
    assert not decision.promoted and "AUROC" in failed and "F1" not in failed[:1]


def test_the_worst_class_is_held_to_its_own_margin() -> None:
    """Each class may lose a part of its ten; the worst of them all may not fall below what the worst was before."""

    def named(one: Scored) -> Scored:
        if not one.is_anomaly:
            return one
        return replace(one, defects=("scratch" if int(one.name.split("-")[1]) % 2 else "dent",))

    champion = with_changes(evaluation("old", 0.5), named)
    bad = [one.name for one in champion.images if one.is_anomaly]
    before = with_scores(champion, dict.fromkeys(bad[0:10:2], 0.1))
    after = with_scores(champion, dict.fromkeys(bad[0:20:2], 0.1))
    decision = decide(before, after, POLICY)
    failed = {check.name: check for check in decision.checks if not check.passed}
    assert not decision.promoted and "worst class recall" in failed
    check = failed["worst class recall"]
    assert check.before == pytest.approx(0.8) and check.after == pytest.approx(0.6)

"""What the champion catches of the challenge parts, no candidate may miss."""

from __future__ import annotations

from tests.unit.test_gate import evaluation, with_scores
from workers.retrain.challenge import Challenge
from workers.retrain.evaluation import Evaluation
from workers.retrain.gate import GateDecision

BETTER = GateDecision(True, "promoted: F1 rose")


def parts(model: str) -> Evaluation:
    """Three good ones, four scratched ones that are all caught."""
    return evaluation(model, 0.7, good=3, scratched=4)


def test_a_challenge_part_that_would_be_missed_refuses_a_candidate_that_is_better_otherwise() -> None:
    champion = parts("old")
    challenge = Challenge(champion, with_scores(parts("new"), {"image-5": 0.2}))
    held = challenge.held(BETTER)
    assert not held.promoted and held.sentence == (
        "not yet: of 4 defective challenge parts 4 were caught and 3 are; "
        "1 that the champion catches would be missed: part-5"
    )
    assert [(check.name, check.passed) for check in held.checks] == [("challenge parts caught", False)]
    assert challenge.figures() == {
        "parts": 7,
        "anomalies": 4,
        "caught": {"before": 4, "after": 3},
        "false_rejects": {"before": 0, "after": 0},
        "missed": ["part-5"],
    }
    assert "<td>part-5</td><td>defective</td>" in challenge.section() and "0.200 not NG" in challenge.section()


def test_what_nobody_catches_or_the_candidate_alone_refuses_nothing() -> None:
    missed = with_scores(parts("old"), {"image-4": 0.2, "image-5": 0.2})
    challenge = Challenge(missed, with_scores(parts("new"), {"image-4": 0.2}))
    assert challenge.missed == [] and challenge.caught == (2, 3)
    held = challenge.held(BETTER)
    assert (held.promoted, held.sentence) == (True, "promoted: F1 rose") and held.checks[0].passed


def test_a_candidate_that_is_refused_already_is_told_both_reasons() -> None:
    challenge = Challenge(parts("old"), with_scores(parts("new"), {"image-5": 0.2}))
    held = challenge.held(GateDecision(False, "refused: noisy labels"))
    assert held.sentence.startswith("refused: noisy labels; of 4 defective challenge parts")

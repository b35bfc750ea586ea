"""From scores to a verdict: pure, so that an audit can decide again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from uuid import UUID

from storage.events import PredictionFacts, ReviewReason, Verdict


@dataclass(frozen=True)
class Decision:
    """A verdict with its reason in words, and why a person should look, if so."""

    verdict: Verdict
    reason: str
    review_reason: ReviewReason | None = None


def decide(
    inspection_id: UUID, predictions: Sequence[PredictionFacts], sample_rate: float, ng_sample_rate: float = 0.0
) -> Decision:
    """The worst view decides: NG from its upper threshold on, REVIEW from its lower one, else OK or sampled.

    A sampled NG part stays NG, and a person looks at it. Both samples are drawn by the same bits of the id: with one
    rate for both, what people decide of them is a draw of all parts that nothing about a part has influenced.
    """
    if not predictions:
        return Decision(Verdict.ERROR, "no view was scored")
    invalid = [one.camera for one in predictions if not usable(one)]
    if invalid:
        return Decision(Verdict.ERROR, f"{', '.join(invalid)}: score or thresholds are no numbers in [0, 1]")
    worst = max(predictions, key=severity)
    score = f"{worst.camera}: anomaly score {worst.anomaly_score:.4f}"
    if worst.anomaly_score >= worst.ng_threshold:
        reason = f"{score} >= NG threshold {worst.ng_threshold:.4f}"
        if sampled(inspection_id, ng_sample_rate):
            reason, why = f"{reason}, sampled at rate {ng_sample_rate:g}", ReviewReason.SAMPLED
            return Decision(Verdict.NG, reason, why)
        return Decision(Verdict.NG, reason)
    if worst.anomaly_score >= worst.ok_threshold:
        band = f"between {worst.ok_threshold:.4f} and {worst.ng_threshold:.4f}"
        return Decision(Verdict.REVIEW, f"{score} {band}", ReviewReason.UNCERTAIN)
    reason = f"{score} < OK threshold {worst.ok_threshold:.4f}"
    if sampled(inspection_id, sample_rate):
        return Decision(Verdict.REVIEW, f"{reason}, sampled at rate {sample_rate:g}", ReviewReason.SAMPLED)
    return Decision(Verdict.OK, reason)


def usable(prediction: PredictionFacts) -> bool:
    """No comparison holds for NaN: a part must not become OK by that."""
    return 0.0 <= prediction.anomaly_score <= 1.0 and not isnan(prediction.ok_threshold + prediction.ng_threshold)


def severity(prediction: PredictionFacts) -> tuple[bool, bool, float]:
    """Views may have different thresholds: first what their verdict is, then the score."""
    score = prediction.anomaly_score
    return score >= prediction.ng_threshold, score >= prediction.ok_threshold, score


def sampled(inspection_id: UUID, rate: float) -> bool:
    """Chosen by the random bits of the id: independent of the part, and the same again when the step is repeated."""
    return drawn(inspection_id, rate, SAMPLE_BITS)


SAMPLE_BITS, CANARY_BITS, SHADOW_BITS = (0, 32), (32, 30), (64, 12)
"""First bit and number of bits: a UUIDv7's random ones, so that no draw depends on another."""


def drawn(inspection_id: UUID, share: float, bits: tuple[int, int]) -> bool:
    """Whether this part belongs to a share of all parts."""
    first, count = bits
    return ((inspection_id.int >> first) & ((1 << count) - 1)) / (1 << count) < share

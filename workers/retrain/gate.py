"""Whether a candidate may replace the champion: better or equal where it must be, and better somewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import PoolsDiffer
from workers.retrain.check import Check, figure
from workers.retrain.comparison import Comparison
from workers.retrain.evaluation import Evaluation


@dataclass(frozen=True)
class GatePolicy:
    """What the gate asks for: `recipes.NAME.gate`. Rates and margins are shares, from 0 to 1."""

    minimum_good: int = 40
    minimum_anomalies: int = 20
    class_parts: int = 10
    margin: float = 0.01
    class_margin: float = 0.03
    disturbance_margin: float = 0.05
    least_gain: float = 0.0
    latency_factor: float = 3.0
    disturbed_parts: int = 100
    maximum_label_noise: float = 0.1
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class GateDecision:
    """The answer, in a sentence a person understands, with every figure it stands on."""

    promoted: bool
    sentence: str
    checks: tuple[Check, ...] = ()
    refused: bool = False
    """Not even judged: something is wrong with its file, its labels or its images, and no version is made of it."""

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def refusal(reason: str) -> GateDecision:
    """A candidate that is not even judged."""
    return GateDecision(False, f"refused: {reason}", refused=True)


def decide(champion: Evaluation, candidate: Evaluation, policy: GatePolicy) -> GateDecision:
    """The same evaluations and policy give the same decision. PoolsDiffer when the two judged different images."""
    if [one.name for one in champion.images] != [one.name for one in candidate.images]:
        raise PoolsDiffer(
            f"{champion.model} judged {len(champion.images)} protected images and {candidate.model} "
            f"{len(candidate.images)}, not the same ones in the same order"
        )
    if missing := too_few(candidate, policy):
        return GateDecision(False, f"not yet: {missing}")
    comparison = Comparison(champion, candidate, policy.resamples, policy.seed)
    needed = tuple(musts(comparison, policy))
    gains = tuple(comparison.gains(policy.least_gain))
    checks = (*needed, *gains)
    if failed := [check for check in needed if not check.passed]:
        return GateDecision(False, not_yet(failed), checks)
    if better := [check for check in gains if check.passed]:
        return GateDecision(True, promoted(better[0], comparison), checks)
    return GateDecision(False, f"not yet: {no_gain(gains[0], comparison)}", checks)


def too_few(candidate: Evaluation, policy: GatePolicy) -> str | None:
    """Why so small a pool decides nothing."""
    anomalies = int(candidate.is_anomaly.sum())
    good = len(candidate.parts) - anomalies
    for found, least, what in (
        (good, policy.minimum_good, "good"),
        (anomalies, policy.minimum_anomalies, "defective"),
    ):
        if found < least:
            return f"the protected pool has {found} {what} parts; a decision needs at least {least}"
    return None


def musts(comparison: Comparison, policy: GatePolicy) -> Iterable[Check]:
    """Where it must be better or equal, the most telling first."""
    yield comparison.failures()
    yield from comparison.classes(policy.class_margin, policy.class_parts)
    yield comparison.escapes_at_promise(policy.margin)
    yield comparison.escapes(policy.margin)
    yield comparison.false_rejects(policy.margin)
    yield comparison.f1(policy.margin)
    yield comparison.auroc(policy.margin)
    yield from comparison.disturbances(policy.disturbance_margin)
    yield comparison.stability(policy.disturbance_margin)
    yield comparison.latency(policy.latency_factor)


def not_yet(failed: Sequence[Check]) -> str:
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"not yet: {failed[0].sentence}{more}"


def promoted(gain: Check, comparison: Comparison) -> str:
    return f"promoted: {gain.sentence}, {comparison.promise()}"


def no_gain(gain: Check, comparison: Comparison) -> str:
    low, high = gain.interval
    return (
        f"no worse, and not surely better: {gain.name} on {len(comparison.champion.parts)} protected parts went from "
        f"{figure(gain.before)} to {figure(gain.after)} (95 % CI of the gain {figure(low)} to {figure(high)})"
    )

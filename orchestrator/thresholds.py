"""The thresholds that judge parts: what they promise about false rejects, and what a person may make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from storage import thresholds as stored
from storage.errors import NotOnRecord, ThresholdsRefused
from storage.events import Verdict
from storage.models import ModelVersion, ThresholdSetting
from storage.overview import deployed
from storage.records import CHAMPION, deployed_model
from storage.thresholds import Thresholds
from workers.detectors.calibration import (
    BY_TURNS,
    Counts,
    Interval,
    calibrate,
    false_rejects_to_come,
    held_out_parts,
    observed_interval,
    parts_needed,
    promised,
    rejected_parts,
    score_of,
)
from workers.detectors.detector import Calibration

JUDGED = (Verdict.OK, Verdict.REVIEW, Verdict.NG)
RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.001)
"""False-reject rates people ask for; shown with the held-out good parts that each needs."""
PARTS_TO_COME = (100, 1000, 10_000)
"""Good parts of a shift, a lot, a month; shown with how many of them are rejected."""


@dataclass(frozen=True)
class Wish:
    """What a person asks for; what is None is left as it is."""

    ok: float | None = None
    ng: float | None = None
    false_reject_rate: float | None = None
    review_share: float | None = None


@dataclass(frozen=True)
class Promise:
    """What held-out good parts tell of the false-reject rate at the thresholds in force."""

    held_out_good_parts: int
    target_false_reject_rate: float | None
    false_reject_interval: Interval
    statement: str
    to_come: dict[int, Counts]
    """Of so many good parts to come, at least and at most so many are rejected, with 99 % confidence."""


@dataclass(frozen=True)
class Labels:
    """How many parts people called what."""

    normal: int
    anomaly: int

    @property
    def all(self) -> int:
        return self.normal + self.anomaly


def calibration_of(version: ModelVersion) -> Calibration | None:
    """How the version's scores were calibrated; None where nobody held a good part out."""
    kept: dict[str, Any] = version.metrics.get("calibration", {})
    if not kept.get("good_raw_scores"):
        return None
    facts: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in kept.items()}
    # On record since it is told; a patchcore was calibrated by turns before that, too.
    return Calibration(**{"by_turns": version.detector == "patchcore"} | facts)


def chosen(version: ModelVersion, now: Thresholds, wish: Wish) -> Thresholds:
    """The wish as thresholds on the version's scale; ThresholdsRefused when they cannot judge parts."""
    if wish.false_reject_rate is not None:
        return at_rate(version, wish.false_reject_rate, wish.review_share)
    found = Thresholds(now.ok if wish.ok is None else wish.ok, now.ng if wish.ng is None else wish.ng)
    if not 0 <= found.ok <= found.ng <= 1:
        raise ThresholdsRefused(
            f"OK below {found.ok:g}, NG from {found.ng:g}; allowed: from 0 to 1, the first not above the second"
        )
    return found


def at_rate(version: ModelVersion, rate: float, review_share: float | None) -> Thresholds:
    """Computed anew from the good parts that were held out when the model was made."""
    kept = calibration_of(version)
    if kept is None:
        raise ThresholdsRefused(
            f"model {version.id} was made without known-good parts, so no false-reject rate can be computed; "
            "give --ok and --ng, or teach from known-good parts"
        )
    wanted = recalibrated(kept, rate, kept.review_share if review_share is None else review_share)
    return Thresholds(score_of(kept, wanted.raw_ok_threshold), score_of(kept, wanted.raw_threshold))


def recalibrated(kept: Calibration, rate: float, review_share: float) -> Calibration:
    groups = [str(part) for part in kept.good_parts] or None
    return calibrate(kept.good_raw_scores, rate, review_share, groups, by_turns=kept.by_turns)


def promise(version: ModelVersion, thresholds: Thresholds, setting: ThresholdSetting | None) -> Promise:
    """Exact where the threshold was computed from the held-out parts; counted on them where a person gave it."""
    kept = calibration_of(version)
    if kept is None:
        words = "no known-good part was held out: nothing is promised about false rejects"
        return Promise(0, None, Interval(0.0, 1.0), words, {})
    parts = held_out_parts(kept)
    if setting is None or setting.target_false_reject_rate is not None:
        rate = setting.target_false_reject_rate if setting else None
        used = kept if rate is None else recalibrated(kept, rate, kept.review_share)
        interval = Interval(*used.false_reject_interval)
        to_come = {count: false_rejects_to_come(used, count) for count in PARTS_TO_COME}
        return Promise(parts, used.target_false_reject_rate, interval, promised(used), to_come)
    rejected = round(rejected_parts(kept, thresholds.ng))
    interval = observed_interval(rejected, parts)
    words = (
        f"set by hand: {rejected} of {parts} held-out good parts are rejected, so {interval.low:.3g} to "
        f"{interval.high:.3g} of those to come with 95% confidence" + (f"; {BY_TURNS}" if kept.by_turns else "")
    )
    return Promise(parts, None, interval, words, {})


def champion(session: Session, recipe: str) -> ModelVersion:
    """The deployed model of a recipe."""
    version = deployed_model(session, recipe)
    if version is None:
        known = ", ".join(row["recipe"] for row in deployed(session) if row["alias"] == CHAMPION) or "none"
        raise NotOnRecord(f"recipe {recipe!r} has no deployed model; recipes that have one: {known}")
    return version


def show(session: Session, recipe: str | None = None) -> list[dict[str, Any]]:
    """Of each deployed model: its thresholds, where they came from, what they promise and what was observed."""
    names = [recipe] if recipe else [row["recipe"] for row in deployed(session) if row["alias"] == CHAMPION]
    return [shown(session, name, champion(session, name)) for name in names]


def shown(session: Session, recipe: str, version: ModelVersion) -> dict[str, Any]:
    setting = stored.newest_setting(session, recipe, version.id)
    thresholds = stored.in_force(session, recipe, version)
    told = promise(version, thresholds, setting)
    return {
        "recipe": recipe,
        "model_version": version.id,
        "detector": version.detector,
        "ok_threshold": thresholds.ok,
        "ng_threshold": thresholds.ng,
        "set_at": setting.set_at if setting else version.created_at,
        "set_by": setting.set_by if setting else "calibration",
        "reason": setting.reason if setting else None,
        "target_false_reject_rate": told.target_false_reject_rate,
        "held_out_good_parts": told.held_out_good_parts,
        "false_reject_interval": list(told.false_reject_interval),
        "statement": told.statement,
        "false_rejects_to_come": {str(parts): list(counts) for parts, counts in told.to_come.items()},
        "parts_needed": {f"{rate:g}": parts_needed(rate) for rate in RATES},
        "observed": observed(session, recipe, version.id),
    }


def observed(session: Session, recipe: str, model_version: str) -> dict[str, Any]:
    """What the line itself has seen; which of the rejected parts were good only their labels can say."""
    counts = stored.judged(session, recipe, model_version)
    said = stored.labelled(session, recipe, model_version)
    labels = {
        verdict: Labels(said.get((verdict, "normal"), 0), said.get((verdict, "anomaly"), 0)) for verdict in JUDGED
    }
    rejected = labels[Verdict.NG]
    return {
        "parts": sum(counts.values()),
        "verdicts": {verdict.value: counts.get(verdict, 0) for verdict in Verdict},
        "labels": {verdict.value: asdict(one) for verdict, one in labels.items()},
        "rejects_that_were_good": list(observed_interval(rejected.normal, rejected.all)) if rejected.all else None,
        "false_reject_rate": false_reject_rate(counts, labels),
    }


def false_reject_rate(counts: Mapping[Verdict, int], labels: Mapping[Verdict, Labels]) -> float | None:
    """The share of good parts that were rejected: what labels say of each verdict's parts, held for all of them.

    None while some verdict has parts and none of them a label. What people open by hand is no random sample: where
    they look again at rejects they doubt, the share comes out too high.
    """
    seen = [verdict for verdict in JUDGED if counts.get(verdict, 0)]
    if not seen or not all(labels[verdict].all for verdict in seen):
        return None
    good = {verdict: counts[verdict] * labels[verdict].normal / labels[verdict].all for verdict in seen}
    return good.get(Verdict.NG, 0.0) / sum(good.values()) if sum(good.values()) else None


def set_thresholds(session: Session, recipe: str, wish: Wish, by: str, reason: str) -> dict[str, Any]:
    """Give the recipe's deployed model other thresholds; running workers take them between two batches."""
    version = champion(session, recipe)
    found = chosen(version, stored.in_force(session, recipe, version), wish)
    rate = wish.false_reject_rate
    stored.set_thresholds(session, recipe, version.id, found, by=by, reason=reason, target_false_reject_rate=rate)
    return shown(session, recipe, version)

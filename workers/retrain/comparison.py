"""Champion and candidate on the same protected parts, figure by figure, each with the interval of its difference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workers.retrain import resampling
from workers.retrain.check import Check, figure, moved
from workers.retrain.evaluation import Evaluation
from workers.retrain.resampling import Floats, Interval, Ranked, Truth

ONE_PART = 1.0
"""A class may lose a single part whatever the margin says: one part is no evidence."""


class Comparison:
    """Both models' figures on the pool and on the same resampled pools."""

    def __init__(self, champion: Evaluation, candidate: Evaluation, resamples: int, seed: int) -> None:
        self.champion, self.candidate = champion, candidate
        self.both = (champion, candidate)
        self.truth = champion.is_anomaly
        self.resamples, self.seed = resamples, seed
        self.weights = resampling.draws(self.truth, resamples, seed)

    @cached_property
    def ranked(self) -> list[Ranked]:
        return [Ranked(self.truth, one.scores, self.weights) for one in self.both]

    @property
    def parts(self) -> str:
        return f"{len(self.truth)} protected parts"

    @property
    def promised(self) -> float:
        """The false-reject rate both are held to: the candidate's promise."""
        return self.candidate.target_false_reject_rate

    # Better or equal

    def no_fall(self, name: str, values: list[Floats], allowed: float, of: str) -> Check:
        """A figure that may not fall by more than that."""
        before, after = (float(one[0]) for one in values)
        return Check(
            name=name,
            before=before,
            after=after,
            interval=resampling.interval(values[1] - values[0]),
            need=f"may fall by at most {figure(allowed)}",
            passed=after >= before - allowed - 1e-9,
            sentence=f"{moved(name, before, after)} on {of}",
        )

    def no_rise(self, name: str, values: list[Floats], allowed: float, of: str) -> Check:
        before, after = (float(one[0]) for one in values)
        return Check(
            name=name,
            before=before,
            after=after,
            interval=resampling.interval(values[1] - values[0]),
            need=f"may rise by at most {figure(allowed)}",
            passed=after <= before + allowed + 1e-9,
            sentence=f"{moved(name, before, after)} on {of}",
        )

    def recalls_at_promise(self, among: Truth) -> list[Floats]:
        """How much of these parts each model catches when both reject the promised share of good parts."""
        return [
            resampling.caught_from(ranked.thresholds_at(self.promised), one.scores, among, self.weights)
            for ranked, one in zip(self.ranked, self.both, strict=True)
        ]

    def classes(self, margin: float, least_parts: int) -> Iterator[Check]:
        """The recall of each defect class with enough parts, then of the worst of them."""
        found = {name: among for name, among in self.champion.classes.items() if among.sum() >= least_parts}
        recalls = {name: self.recalls_at_promise(among) for name, among in found.items()}
        for name, values in recalls.items():
            count = int(found[name].sum())
            yield self.no_fall(f"{name} recall", values, max(margin, ONE_PART / count), f"{count} parts")
        if len(recalls) > 1:
            worst = [np.stack([values[place] for values in recalls.values()]).min(axis=0) for place in (0, 1)]
            fewest = min(int(among.sum()) for among in found.values())
            yield self.no_fall("worst class recall", worst, max(margin, ONE_PART / fewest), f"{len(recalls)} classes")

    def escapes_at_promise(self, margin: float) -> Check:
        values = [1 - recall for recall in self.recalls_at_promise(self.truth)]
        anomalies = int(self.truth.sum())
        name = f"escapes at {self.promised:.3g} false rejects"
        return self.no_rise(name, values, max(margin, ONE_PART / anomalies), f"{anomalies} defective parts")

    def escapes(self, margin: float) -> Check:
        """Defective parts passed as OK, each model at its own thresholds."""
        values = [resampling.share(one.passed, self.truth, self.weights) for one in self.both]
        anomalies = int(self.truth.sum())
        return self.no_rise("escapes", values, max(margin, ONE_PART / anomalies), f"{anomalies} defective parts")

    def false_rejects(self, margin: float) -> Check:
        """At its own threshold; what the candidate's calibration promises, it may use."""
        values = [resampling.share(one.rejected, ~self.truth, self.weights) for one in self.both]
        before, after = (float(one[0]) for one in values)
        good = int((~self.truth).sum())
        # The promise is about all parts to come: this pool's share of them scatters around it.
        least = resampling.wilson(int(self.candidate.rejected[~self.truth].sum()), good).low
        allowed = max(before + margin, self.promised)
        return Check(
            name="false rejects",
            before=before,
            after=after,
            interval=resampling.interval(values[1] - values[0]),
            need=f"may surely be no higher than {figure(allowed)}",
            passed=least <= allowed,
            sentence=f"{moved('false rejects', before, after)} on {good} good parts, against the promised "
            f"{figure(self.promised)}",
        )

    def f1_values(self) -> list[Floats]:
        return [resampling.f1(self.truth, one.rejected, self.weights) for one in self.both]

    def f1(self, margin: float) -> Check:
        return self.no_fall("F1", self.f1_values(), margin, self.parts)

    def auroc(self, margin: float) -> Check:
        return self.no_fall("AUROC", [one.auroc() for one in self.ranked], margin, self.parts)

    def failures(self) -> Check:
        before, after = (one.failures for one in self.both)
        first = next((one for one in self.candidate.images if one.failure), None)
        return Check(
            name="images it cannot score",
            before=before,
            after=after,
            interval=Interval(after - before, after - before),
            need="no more than the champion",
            passed=after <= before,
            sentence=f"{after} protected images cannot be scored, {before} before"
            + (f"; first {first.name[:12]}: {first.failure}" if first else ""),
        )

    # Under disturbances

    def disturbances(self, margin: float) -> Iterator[Check]:
        """How well both decide on darker, blurred, moved images: the mean of caught anomalies and passed good parts."""
        for name in self.candidate.disturbances:
            if name not in self.champion.disturbances:
                continue
            drawn = ~np.isnan(self.candidate.disturbed(name))
            truth = self.truth[drawn]
            weights = resampling.draws(truth, self.resamples, self.seed)
            values = []
            for one in self.both:
                rejected = one.disturbed(name)[drawn] >= one.ng_threshold
                values.append(balanced(truth, rejected, weights))
            allowed = max(margin, ONE_PART / len(truth))
            yield self.no_fall(f"right decisions on {name} images", values, allowed, f"{len(truth)} parts")

    def stability(self, margin: float) -> Check:
        """How often a disturbance turns a good part that was not rejected into one that is."""
        counts = [flips(one, self.truth) for one in self.both]
        before, after = (count / of if of else 0.0 for count, of in counts)
        tried = max(of for _, of in counts)
        low, high = difference(counts[0], counts[1])
        return Check(
            name="good parts turned bad by a disturbance",
            before=before,
            after=after,
            interval=Interval(low, high),
            need=f"may rise by at most {figure(margin)}",
            passed=after <= before + margin + 1e-9,
            sentence=f"{moved('the share of good parts turned bad by a disturbance', before, after)} in {tried} tries",
        )

    def latency(self, factor: float) -> Check:
        """Image by image, so that what else the machine did has weighed on both."""
        times = [np.array([one.milliseconds for one in both.images]) for both in self.both]
        ratios = times[1] / np.maximum(times[0], 1e-6)
        before, after = (float(np.median(one)) for one in times)
        typical = float(np.median(ratios))
        low, high = np.percentile(ratios, [2.5, 97.5])
        return Check(
            name="milliseconds an image",
            before=before,
            after=after,
            interval=Interval(float(low), float(high)),
            need=f"at most {factor:g} times the champion's",
            passed=typical <= factor,
            sentence=f"an image takes {typical:.1f} times as long ({after:.1f} ms, before {before:.1f} ms)",
        )

    # Better somewhere

    def gains(self, least: float) -> Iterator[Check]:
        """One of these must surely be better."""
        escapes = [1 - recall for recall in self.recalls_at_promise(self.truth)]
        yield self.gain("F1", self.f1_values(), least)
        yield self.gain(f"escapes at {self.promised:.3g} false rejects", escapes, least, falling=True)
        yield self.gain("AUROC", [one.auroc() for one in self.ranked], least)

    def gain(self, name: str, values: list[Floats], least: float, *, falling: bool = False) -> Check:
        before, after = (float(one[0]) for one in values)
        gained = values[0] - values[1] if falling else values[1] - values[0]
        low, high = resampling.interval(gained)
        return Check(
            name=name,
            before=before,
            after=after,
            interval=Interval(low, high),
            need=f"one such gain is surely more than {figure(least)}",
            passed=low > least,
            sentence=f"{name} on {self.parts} {'rose' if after > before else 'fell'} from {figure(before)} to "
            f"{figure(after)} (95 % CI of the gain {figure(low)} to {figure(high)})",
        )

    def promise(self) -> str:
        observed = float(self.candidate.rejected[~self.truth].mean())
        return f"false rejects {100 * observed:.1f} % against the promised {100 * self.promised:.3g} %"


def balanced(truth: Truth, rejected: Truth, weights: Floats) -> Floats:
    """The mean of the rates at which defective parts are caught and good ones are not."""
    return (resampling.share(rejected, truth, weights) + resampling.share(~rejected, ~truth, weights)) / 2


def flips(evaluation: Evaluation, truth: NDArray[np.bool_]) -> tuple[int, int]:
    """Of so many tries on good parts that are not rejected, how many are rejected when disturbed."""
    count = of = 0
    for name in evaluation.disturbances:
        scores = evaluation.disturbed(name)
        calm = ~truth & ~evaluation.rejected & ~np.isnan(scores)
        count += int((scores[calm] >= evaluation.ng_threshold).sum())
        of += int(calm.sum())
    return count, of


def difference(before: tuple[int, int], after: tuple[int, int]) -> Interval:
    """Of two rates; Newcombe's hybrid of Wilson's intervals (Statistics in Medicine 17, 1998)."""
    rates = [count / of if of else 0.0 for count, of in (before, after)]
    (low, high), (low_after, high_after) = (resampling.wilson(*one) for one in (before, after))
    down = np.hypot(rates[1] - low_after, high - rates[0])
    up = np.hypot(high_after - rates[1], rates[0] - low)
    return Interval(float(rates[1] - rates[0] - down), float(rates[1] - rates[0] + up))

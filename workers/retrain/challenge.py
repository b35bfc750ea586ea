"""Challenge parts: what the champion catches of them, no candidate may miss. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from workers.datasets.page import paragraph, section, table
from workers.retrain.check import Check
from workers.retrain.evaluation import Evaluation
from workers.retrain.gate import GateDecision
from workers.retrain.resampling import Interval

MOST_NAMED: Final = 3


@dataclass(frozen=True)
class Challenge:
    """The same challenge parts, judged by both; there is at least one."""

    champion: Evaluation
    candidate: Evaluation

    @property
    def missed(self) -> list[str]:
        """Defective parts that the champion rejects and the candidate does not."""
        lost = self.champion.is_anomaly & self.champion.rejected & ~self.candidate.rejected
        return [part for part, is_lost in zip(self.champion.parts, lost, strict=True) if is_lost]

    @property
    def caught(self) -> tuple[int, int]:
        """How many of the defective parts each rejects."""
        before, after = (int((one.is_anomaly & one.rejected).sum()) for one in (self.champion, self.candidate))
        return before, after

    @property
    def false_rejects(self) -> tuple[int, int]:
        before, after = (int((~one.is_anomaly & one.rejected).sum()) for one in (self.champion, self.candidate))
        return before, after

    def check(self) -> Check:
        """No interval: these parts were chosen, not drawn."""
        (before, after), missed = self.caught, self.missed
        of = int(self.champion.is_anomaly.sum())
        named = ", ".join(missed[:MOST_NAMED]) + (", …" if len(missed) > MOST_NAMED else "")
        return Check(
            name="challenge parts caught",
            before=before,
            after=after,
            interval=Interval(after - before, after - before),
            need="each one that the champion catches",
            passed=not missed,
            sentence=f"of {of} defective challenge parts {before} were caught and {after} are"
            + (f"; {len(missed)} that the champion catches would be missed: {named}" if missed else ""),
        )

    def held(self, decision: GateDecision) -> GateDecision:
        """The decision with this among its checks; a part that would be missed refuses what would be promoted."""
        check = self.check()
        found = replace(decision, checks=(*decision.checks, check))
        if check.passed:
            return found
        said = f"not yet: {check.sentence}" if decision.promoted else f"{decision.sentence}; {check.sentence}"
        return replace(found, promoted=False, sentence=said)

    def figures(self) -> dict[str, Any]:
        names = ("before", "after")
        return {
            "parts": len(self.champion.parts),
            "anomalies": int(self.champion.is_anomaly.sum()),
            "caught": dict(zip(names, self.caught, strict=True)),
            "false_rejects": dict(zip(names, self.false_rejects, strict=True)),
            "missed": self.missed,
        }

    def section(self) -> str:
        """For the gate's page: each part."""
        both = (self.champion, self.candidate)
        rows: list[Sequence[object]] = [
            (
                part,
                "defective" if is_anomaly else "good",
                *(f"{one.scores[place]:.3f} {'NG' if one.rejected[place] else 'not NG'}" for one in both),
            )
            for place, (part, is_anomaly) in enumerate(
                zip(self.champion.parts, self.champion.is_anomaly.tolist(), strict=True)
            )
        ]
        said = paragraph(f"{self.check().sentence}.")
        return section("Challenge parts", said, table(("part", "is", *(one.model for one in both)), rows))

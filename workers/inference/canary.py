"""Whether a canary is still what it promised to be: pure, so that a decision can be checked again."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEVEL = 0.001
"""How likely a canary that judges as before is taken back at one look, by all comparisons together, at most."""
MINIMUM_PARTS = 50
"""Of either side, before anything is said."""


@dataclass(frozen=True)
class Judged:
    """So many parts were judged so, by their scores alone: what was drawn for a random sample counts as OK."""

    ok: int = 0
    review: int = 0
    ng: int = 0
    error: int = 0

    @property
    def scored(self) -> int:
        return self.ok + self.review + self.ng

    @property
    def parts(self) -> int:
        return self.scored + self.error


@dataclass(frozen=True)
class Comparison:
    """A rate of the canary beside the one it is measured by."""

    what: str
    found: int
    of: int
    expected: int
    of_expected: int
    beside: str

    @property
    def p_value(self) -> float:
        return two_proportions(self.found, self.of, self.expected, self.of_expected)

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.found} of {self.of} parts ({share(self.found, self.of)}), {self.beside} "
            f"{self.expected} of {self.of_expected} ({share(self.expected, self.of_expected)}), p = {self.p_value:.2g}"
        )


def share(found: int, of: int) -> str:
    return f"{found / of:.1%}" if of else "none"


def drifted(canary: Judged, champion: Judged, shadow: Judged) -> str | None:
    """Why the canary is to be taken back; None while its rates are what they should be, or too few parts tell.

    Its verdicts are held against what the same version said as a challenger; where it did not watch long enough,
    against the champion's in the same time. Parts that could not be scored are held against the champion's.
    """
    bad = [one for one in comparisons(canary, champion, shadow) if one.p_value < LEVEL / 3]
    return "; ".join(map(str, bad)) or None


def comparisons(canary: Judged, champion: Judged, shadow: Judged) -> list[Comparison]:
    found = []
    expected, beside = (shadow, "in the shadow") if shadow.scored >= MINIMUM_PARTS else (champion, "by the champion")
    if min(canary.scored, expected.scored) >= MINIMUM_PARTS:
        counts = (canary.scored, expected.scored, beside)
        found += [
            comparison("not OK", canary.review + canary.ng, expected.review + expected.ng, *counts),
            comparison("NG", canary.ng, expected.ng, *counts),
        ]
    if min(canary.parts, champion.parts) >= MINIMUM_PARTS:
        found.append(comparison("ERROR", canary.error, champion.error, canary.parts, champion.parts, "by the champion"))
    return found


def comparison(what: str, found: int, expected: int, of: int, of_expected: int, beside: str) -> Comparison:
    return Comparison(what, found, of, expected, of_expected, beside)


def two_proportions(found: int, of: int, expected: int, of_expected: int) -> float:
    """Fisher's exact test, two-sided: how likely rates so far apart, or farther, are when there is but one rate.

    Summed over the hypergeometric distribution in logarithms; exact also where a rate is 0.
    """
    total, hits = of + of_expected, found + expected
    low, high = max(0, hits - of_expected), min(of, hits)
    logs = [log_choose(of, k) + log_choose(of_expected, hits - k) for k in range(low, high + 1)]
    mine = logs[found - low] + 1e-7  # equal ones are equal, whatever the last digit says
    whole = log_choose(total, hits)
    return min(1.0, sum(math.exp(one - whole) for one in logs if one <= mine))


def log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

"""Whether one operator's labels suddenly differ from his own before, and from what others say of parts like these.

Compared is what a label says with how likely it is for such a part, so that a worse lot is not taken for a worse
operator. The moment is the split of his labels, in time, that differs most (Hawkins, "Testing a Sequence of
Observations for a Shift in Location", JASA 1977); how often chance makes one so large is found by permuting them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEWEST: Final = 15  # labels before and after
PERMUTATIONS: Final = 2000
CHANCE: Final = 0.01  # of all operators and both comparisons together
LEAST_SHIFT: Final = 0.15
"""A smaller one is significant with enough labels and harms nobody."""
FAR: Final = 3.5  # standard errors: by chance once in 2,000 operators

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """One label: probability is how likely an anomaly is for such a part, by the other labels."""

    person: str
    decided_at: datetime
    is_anomaly: bool
    probability: float


def shifted(labels: Sequence[Said], seed: int) -> dict[int, str]:
    """The places of labels from an operator's sudden shift on, with the figures in words."""
    people = sorted({label.person for label in labels})
    places_of = {
        person: sorted(
            (place for place, label in enumerate(labels) if label.person == person),
            key=lambda place: labels[place].decided_at,
        )
        for person in people
    }
    found: dict[int, str] = {}
    for person in people:
        others = [label for label in labels if label.person != person]
        found |= changed(person, places_of[person], labels, others, seed, CHANCE / (2 * len(people)))
    # The norm are those who did not change: otherwise the one who did would make strangers of them.
    steady = [label for place, label in enumerate(labels) if place not in found]
    for person in people:
        others = [label for label in steady if label.person != person]
        places = places_of[person]
        if not found.keys() & set(places) and FEWEST <= len(places) < len(others):
            found |= stranger(person, places, labels, others)
    return found


def changed(
    person: str, places: Sequence[int], labels: Sequence[Said], others: Sequence[Said], seed: int, chance: float
) -> dict[int, str]:
    """Labels from the moment on at which a person became another one."""
    found: dict[int, str] = {}
    for name, values in comparisons([labels[place] for place in places]).items():
        start, size = change(values, seed, chance)
        baseline = comparisons(others)[name] if len(others) >= FEWEST else None
        # From others as well: who comes back to what everybody says has not become a worse operator.
        if start is not None and differs(values[start:], baseline, size):
            when = labels[places[start]].decided_at
            detail = f"from {when:%Y-%m-%d %H:%M} on {person} says {name} {abs(size):.0%} {often(size)} than before"
            found |= dict.fromkeys(places[start:], detail)
    return found


def comparisons(labels: Sequence[Said]) -> dict[str, Numbers]:
    """For each label: how much more it is an anomaly, and how much more it is against its like, than expected."""
    truth = np.array([label.is_anomaly for label in labels], np.float64)
    expected = np.array([label.probability for label in labels], np.float64)
    return {
        "anomaly": truth - expected,
        "the opposite": np.abs(truth - expected) - 2 * expected * (1 - expected),
    }


def change(values: Numbers, seed: int, chance: float) -> tuple[int | None, float]:
    """Where the values change most, and by how much; None when chance does as much."""
    if len(values) < 2 * FEWEST:
        return None, 0.0
    strengths = strength(values[None])[0]
    start = int(strengths.argmax()) + FEWEST
    size = float(values[start:].mean() - values[:start].mean())
    if abs(size) < LEAST_SHIFT:
        return None, size
    draw = np.random.default_rng(seed)
    by_chance = strength(draw.permuted(np.tile(values, (PERMUTATIONS, 1)), axis=1)).max(1)
    share = (1 + np.count_nonzero(by_chance >= strengths.max())) / (1 + PERMUTATIONS)
    return (start, size) if share <= chance else (None, size)


def strength(values: Numbers) -> Numbers:
    """(rows, labels) to (rows, splits): how far the means before and after lie apart, in standard errors."""
    count = values.shape[1]
    before = np.arange(FEWEST, count - FEWEST + 1)
    sums = values.cumsum(1)
    first = sums[:, before - 1] / before
    second = (sums[:, -1:] - sums[:, before - 1]) / (count - before)
    deviation = np.maximum(values.std(1, keepdims=True), 1e-9)
    found: Numbers = np.abs(second - first) / (deviation * np.sqrt(1 / before + 1 / (count - before)))
    return found


def differs(values: Numbers, baseline: Numbers | None, size: float) -> bool:
    """Whether they lie on the shift's side of what others do, by at least the least shift; with nobody else, yes."""
    if baseline is None:
        return True
    return float(values.mean() - baseline.mean()) * (1 if size > 0 else -1) >= LEAST_SHIFT


def often(size: float) -> str:
    return "more often" if size > 0 else "less often"


def stranger(person: str, places: Sequence[int], labels: Sequence[Said], others: Sequence[Said]) -> dict[int, str]:
    """All labels of somebody who never labelled as the others do; the majority is the norm."""
    for name, values in comparisons([labels[place] for place in places]).items():
        baseline = comparisons(others)[name]
        size = float(values.mean() - baseline.mean())
        error = float(np.sqrt(values.var() / len(values) + baseline.var() / len(baseline)))
        if abs(size) >= LEAST_SHIFT and abs(size) > FAR * error:
            detail = f"{person} says {name} {abs(size):.0%} {often(size)} than others of such parts"
            return dict.fromkeys(places, detail)
    return {}

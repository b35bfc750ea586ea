"""How much two people agree beyond chance: Cohen's kappa.

Cohen, "A Coefficient of Agreement for Nominal Scales", Educational and Psychological Measurement 20, 1960.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Table = Counter[tuple[str, str]]
"""How often the first said this and the second said that."""


@dataclass(frozen=True)
class Agreement:
    """Of how many parts two people told their opinion, the share they agree on, and kappa.

    kappa is None where chance alone would make them agree: when both always said the same one thing.
    """

    parts: int
    agreed: float
    kappa: float | None


@dataclass(frozen=True)
class PairAgreement(Agreement):
    """The agreement of two people, whoever was asked first."""

    people: tuple[str, str]


@dataclass(frozen=True)
class Agreements:
    """Per pair of people, and over all: there the first opinion against the blind second."""

    overall: Agreement | None
    pairs: list[PairAgreement]


def agreements(rows: Iterable[dict[str, Any]]) -> Agreements:
    """rows: first, second, first_decision, second_decision, parts."""
    overall: Table = Counter()
    pairs: dict[tuple[str, str], Table] = {}
    for row in rows:
        said = row["first_decision"], row["second_decision"]
        overall[said] += row["parts"]
        swapped = row["second"] < row["first"]
        people = (row["second"], row["first"]) if swapped else (row["first"], row["second"])
        pairs.setdefault(people, Counter())[said[::-1] if swapped else said] += row["parts"]
    found = [PairAgreement(*measure(table), people=people) for people, table in sorted(pairs.items())]
    return Agreements(Agreement(*measure(overall)) if overall else None, found)


def measure(table: Table) -> tuple[int, float, float | None]:
    """How many parts, the share agreed on, kappa."""
    parts = table.total()
    agreed = sum(count for (first, second), count in table.items() if first == second) / parts
    firsts: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for (first, second), count in table.items():
        firsts[first] += count
        seconds[second] += count
    by_chance = sum(firsts[said] * seconds[said] for said in firsts) / parts**2
    return parts, agreed, None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)

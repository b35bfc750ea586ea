"""Who is learned from and who is judged on: drawn once, by part or by lot, and never changed afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from storage.snapshot_models import ItemSource, Split
from workers.snapshots.parts import Part
from workers.snapshots.policy import Policy
from workers.snapshots.row import Row


@dataclass(frozen=True)
class Protection:
    """What earlier snapshots and engineers decided; all by the keys of parts."""

    pool: AbstractSet[str] = field(default_factory=frozenset)
    challenge: AbstractSet[str] = field(default_factory=frozenset)
    trained: AbstractSet[str] = field(default_factory=frozenset)


class Division:
    """The side of each part. A draw depends on its name, the recipe and the seed alone, not on the order of labels."""

    def __init__(self, rows: Sequence[Row], protection: Protection, policy: Policy, recipe: str, seed: int) -> None:
        self.rows, self.protection, self.policy = rows, protection, policy
        self.recipe, self.seed = recipe, seed
        self.by_lot = len({lot for row in rows for lot in row.lots}) >= policy.fewest_lots
        self.lot_sides: dict[str, set[Split]] = {}

    def sides(self, parts: Sequence[Part]) -> list[Split]:
        """Known parts first: a lot follows the parts of it that are."""
        known = [self.known(part) for part in parts]
        for part, side in zip(parts, known, strict=True):
            lot = self.lot(part)
            if lot is not None and side is not None and not self.is_taught(part):
                self.lot_sides.setdefault(lot, set()).add(side)
        return [self.decided(part) if side is None else side for part, side in zip(parts, known, strict=True)]

    def known(self, part: Part) -> Split | None:
        if part.keys & self.protection.challenge:
            return Split.CHALLENGE
        if part.keys & self.protection.pool:
            return Split.TEST
        if self.is_taught(part):
            return Split.TRAIN
        return self.learned(part) if part.keys & self.protection.trained else None

    def is_taught(self, part: Part) -> bool:
        return any(self.rows[place].source is ItemSource.TAUGHT for place in part.places)

    def decided(self, part: Part) -> Split:
        """Of a part that no snapshot had yet."""
        lot = self.lot(part)
        sides = self.lot_sides.get(lot, set()) if lot is not None and self.by_lot else set()
        if sides == {Split.TEST}:
            return Split.TEST
        if sides and Split.TEST not in sides and sides != {Split.CHALLENGE}:
            return self.learned(part)
        return Split.TEST if self.draw("test", self.unit(part)) < self.policy.test_share else self.learned(part)

    def learned(self, part: Part) -> Split:
        drawn = self.draw("validation", self.unit(part)) < self.policy.validation_share
        return Split.VALIDATION if drawn else Split.TRAIN

    def unit(self, part: Part) -> str:
        lot = self.lot(part)
        return f"lot:{lot}" if lot is not None and self.by_lot else part.key

    def lot(self, part: Part) -> str | None:
        return min((lot for place in part.places for lot in self.rows[place].lots), default=None)

    def draw(self, purpose: str, unit: str) -> float:
        """A number in [0, 1)."""
        told = "\0".join((self.recipe, str(self.seed), purpose, unit))
        return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") / 2**64

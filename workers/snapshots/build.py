"""Labelled images become a snapshot: split, protected, and rid of what should not be believed. Nothing does I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from storage.snapshot_models import AsideReason, ItemSource, SetAside, SnapshotItem, Split
from workers.datasets import quality
from workers.datasets.quality import Quality
from workers.snapshots.division import Division, Protection
from workers.snapshots.doubts import Doubts, doubts
from workers.snapshots.parts import Part, near_duplicates, parts
from workers.snapshots.people import faults, word
from workers.snapshots.policy import Policy
from workers.snapshots.row import Row
from workers.snapshots.shift import Said, shifted

JUDGED: Final = (Split.TEST, Split.CHALLENGE)
BY_LOOKS: Final = frozenset({AsideReason.BLURRED, AsideReason.MISEXPOSED, AsideReason.UNLIKE_ALIKE})
"""What an image is hard for, and not what is wrong with its truth: a protected part is judged all the same."""
FINAL: Final = frozenset({AsideReason.UNREADABLE, AsideReason.NEAR_DUPLICATE})
"""What no engineer's word changes."""

FEWEST_COMPARED: Final = 20  # images of a class; among fewer, one that differs is no outlier

Asides = list[dict[AsideReason, str]]
Released = AbstractSet[tuple[str, UUID | None]]


@dataclass(frozen=True)
class Built:
    """What goes on record; the snapshot's own row is made by who knows its name."""

    items: list[SnapshotItem]
    asides: list[SetAside]
    pool_keys: set[str]
    counts: dict[str, Any]
    unfit: str | None


class Builder:
    """The steps of one snapshot over its rows, each known by its place."""

    def __init__(
        self, rows: Sequence[Row], protection: Protection, released: Released, policy: Policy, recipe: str, seed: int
    ) -> None:
        self.rows = sorted(rows, key=lambda row: row.sha256)
        self.protection, self.released, self.policy, self.seed = protection, released, policy, seed
        self.alike = near_duplicates(self.rows)
        self.parts = parts(self.rows, self.alike)
        self.division = Division(self.rows, protection, policy, recipe, seed)
        self.part_of: dict[int, Part] = {}
        self.side_of: dict[int, Split] = {}
        for part, side in zip(self.parts, self.division.sides(self.parts), strict=True):
            self.part_of |= dict.fromkeys(part.places, part)
            self.side_of |= dict.fromkeys(part.places, side)
        self.asides: Asides = [faults(row) for row in self.rows]
        self.doubts: Doubts | None = None

    def build(self, name: str) -> Built:
        self.contradictions()
        self.leaks()
        self.quality()
        self.labels()
        self.let_go()
        places = range(len(self.rows))
        items = [self.item(name, place) for place in places if not self.asides[place] or self.used(place)]
        return Built(
            items=items,
            asides=[self.aside(name, place, reason) for place in places for reason in self.asides[place]],
            pool_keys=self.pool_keys(),
            counts=self.counts(items),
            unfit=self.unfit(items),
        )

    def put_aside(self, place: int, reason: AsideReason, detail: str) -> None:
        self.asides[place].setdefault(reason, detail)

    def contradictions(self) -> None:
        """The same to the eye, and labelled both ways."""
        for pair in self.alike:
            if self.rows[pair[0]].is_anomaly is not self.rows[pair[1]].is_anomaly:
                for place, other in (pair, pair[::-1]):
                    said = word(self.rows[other].is_anomaly)
                    detail = f"shows the same as {self.rows[other].sha256[:12]}, which is labelled {said}"
                    self.put_aside(place, AsideReason.CONTRADICTION, detail)

    def leaks(self) -> None:
        """What was learned from, or will be, and shows what is judged: the judged side is kept."""
        for place, row in enumerate(self.rows):
            known = row.source is ItemSource.TAUGHT or bool(self.protection.trained & set(row.keys))
            if known and self.side_of[place] in JUDGED:
                key = self.part_of[place].key
                detail = f"models were taught from it, and its part {key} is protected: the protected images are kept"
                self.put_aside(place, AsideReason.NEAR_DUPLICATE, detail)
        for pair in self.alike:
            for place, other in (pair, pair[::-1]):
                if self.side_of[place] not in JUDGED and self.side_of[other] in JUDGED:
                    detail = (
                        f"shows the same as {self.rows[other].sha256[:12]} of {self.part_of[other].key}, which is kept"
                    )
                    self.put_aside(place, AsideReason.NEAR_DUPLICATE, f"{detail} in {self.side_of[other]}")

    def quality(self) -> None:
        """Good images beside good ones and defective beside defective: a defect may be what makes an image dark."""
        for is_anomaly in (False, True):
            places = [place for place, row in enumerate(self.rows) if row.look and row.is_anomaly is is_anomaly]
            looks = [look for place in places if (look := self.rows[place].look) is not None]
            if len(looks) < FEWEST_COMPARED:
                continue
            measured = [Quality(look.sharpness, look.brightness, look.clipped) for look in looks]
            for found in quality.blurred(measured):
                detail = f"sharpness {measured[found].sharpness:.1f}, far below the other {word(is_anomaly)} images"
                self.put_aside(places[found], AsideReason.BLURRED, detail)
            for found in quality.misexposed(measured):
                detail = f"brightness {measured[found].brightness:.2f}, {measured[found].clipped:.0%} black or white"
                self.put_aside(places[found], AsideReason.MISEXPOSED, detail)

    def labels(self) -> None:
        """Labels that look wrong beside the others; what is set aside already does not vote."""
        places = [place for place, row in enumerate(self.rows) if row.look is not None and self.votes(place)]
        rows = [self.rows[place] for place in places]
        self.doubts = doubts(rows, [self.part_of[place].key for place in places], self.seed)
        if self.doubts is None:
            return
        said, whose = [], []
        for place, row, probability in zip(places, rows, self.doubts.probabilities, strict=True):
            if row.source is ItemSource.TAUGHT:
                continue
            given = probability if row.is_anomaly else 1 - probability
            if given < self.policy.doubt:
                detail = f"labelled {word(row.is_anomaly)}; images like it give that {given:.2f}"
                self.put_aside(place, AsideReason.UNLIKE_ALIKE, detail)
            if row.decided_by is not None and row.decided_at is not None:
                said.append(Said(row.decided_by, row.decided_at, row.is_anomaly, float(probability)))
                whose.append(place)
        for found, detail in shifted(said, self.seed).items():
            self.put_aside(whose[found], AsideReason.OPERATOR_SHIFT, detail)

    def votes(self, place: int) -> bool:
        return not self.asides[place].keys() - {AsideReason.BLURRED, AsideReason.MISEXPOSED}

    def let_go(self) -> None:
        """What an engineer released under this label is used."""
        for row, reasons in zip(self.rows, self.asides, strict=True):
            if (row.sha256, row.label_id) in self.released:
                for reason in reasons.keys() - FINAL:
                    del reasons[reason]

    def used(self, place: int) -> bool:
        """Leaving hard parts out of what is judged would flatter every model."""
        return self.side_of[place] in JUDGED and self.asides[place].keys() <= BY_LOOKS

    def item(self, name: str, place: int) -> SnapshotItem:
        row = self.rows[place]
        return SnapshotItem(
            snapshot=name,
            sha256=row.sha256,
            md5=row.md5,
            size_bytes=row.size_bytes,
            media_type=row.media_type,
            width=row.width,
            height=row.height,
            camera=row.camera,
            inspection_id=row.inspection_id,
            part_key=self.part_of[place].key,
            part_id=row.part_ids[-1] if row.part_ids else None,
            lot=row.lots[-1] if row.lots else None,
            split=self.side_of[place],
            is_anomaly=row.is_anomaly,
            defects=list(row.defects),
            regions=list(row.regions),
            source=row.source,
            label_id=row.label_id,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
        )

    def aside(self, name: str, place: int, reason: AsideReason) -> SetAside:
        row = self.rows[place]
        return SetAside(
            snapshot=name,
            sha256=row.sha256,
            reason=reason,
            part_key=self.part_of[place].key,
            is_anomaly=row.is_anomaly,
            label_id=row.label_id,
            decided_by=row.decided_by,
            detail=self.asides[place][reason],
            used=self.used(place),
        )

    def pool_keys(self) -> set[str]:
        """Everything the judged parts are known by, but for what models were taught from."""
        judged = [
            part
            for part in self.parts
            if any(
                self.side_of[place] is Split.TEST and (not self.asides[place] or self.used(place))
                for place in part.places
            )
        ]
        taught = {key for row in self.rows if row.source is ItemSource.TAUGHT for key in row.keys}
        return {key for part in judged for key in part.keys} - self.protection.trained - taught

    def counts(self, items: Sequence[SnapshotItem]) -> dict[str, Any]:
        splits: dict[str, Any] = {}
        for split in Split:
            chosen = [item for item in items if item.split is split]
            splits[split.value] = {
                "images": len(chosen),
                "parts": len({item.part_key for item in chosen}),
                "normal": sum(not item.is_anomaly for item in chosen),
                "anomaly": sum(item.is_anomaly for item in chosen),
            }
        reasons = Counter(reason.value for found in self.asides for reason in found)
        return {
            "images": len(items),
            "parts": len({item.part_key for item in items}),
            "lots": len({item.lot for item in items} - {None}),
            "split_by": "lot" if self.division.by_lot else "part",
            "taught": sum(item.source is ItemSource.TAUGHT for item in items),
            "people": sorted({item.decided_by for item in items if item.decided_by}),
            **splits,
            "set_aside": dict(sorted(reasons.items())),
            "set_aside_images": sum(bool(found) and not self.used(place) for place, found in enumerate(self.asides)),
            "used_though_listed": sum(bool(found) and self.used(place) for place, found in enumerate(self.asides)),
        }

    def unfit(self, items: Sequence[SnapshotItem]) -> str | None:
        if not any(item.split is Split.TRAIN for item in items):
            return "no image is left to learn from"
        if self.doubts is None:
            return None
        counted = [row for row in self.doubts.rows if row.source is not ItemSource.TAUGHT]
        waiting = [row for row in counted if (row.sha256, row.label_id) not in self.released]
        doubted = self.doubts.strongly({row.sha256 for row in waiting}, self.policy.strong_doubt)
        least = lower_bound(doubted, len(counted))
        if least <= self.policy.most_doubted:
            return None
        return (
            f"{doubted} of {len(counted)} labels are contradicted by the images like them, more than "
            f"{self.policy.most_doubted:.0%} for sure: let an engineer look at what is set aside"
        )


def lower_bound(count: int, of: int) -> float:
    """Wilson's one-sided 95 % bound of a share."""
    if not of:
        return 0.0
    z, share = 1.645, count / of
    middle = share + z * z / (2 * of)
    width = z * ((share * (1 - share) + z * z / (4 * of)) / of) ** 0.5
    return float((middle - width) / (1 + z * z / of))


def build(
    rows: Sequence[Row],
    *,
    name: str,
    recipe: str,
    seed: int,
    policy: Policy | None = None,
    protection: Protection | None = None,
    released: Released = frozenset(),
) -> Built:
    """The same rows, protection, policy and seed give the same snapshot, in whatever order they come."""
    builder = Builder(rows, protection or Protection(), released, policy or Policy(), recipe, seed)
    return builder.build(name)

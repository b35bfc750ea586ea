"""What a snapshot makes of labels: pure, so every rule can be tried on made-up parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from storage.snapshot_models import AsideReason, ItemSource, Split
from workers.snapshots.build import Built, build
from workers.snapshots.division import Protection
from workers.snapshots.gather import decided
from workers.snapshots.manifest import canonical
from workers.snapshots.row import Look, Row

CHANNELS = 32
START = datetime(2026, 11, 1, tzinfo=UTC)


def row(number: int, is_anomaly: bool | None = None, look: int | None = None, **facts: Any) -> Row:
    """Every third part is defective, and looks it; look: the number of the part whose picture it has."""
    shown = number if look is None else look
    draw = np.random.default_rng(shown)
    apart = 2.0 * np.sign(np.arange(CHANNELS) - 16.5) if shown % 3 == 0 else 0
    embedding = (draw.normal(8, 1, CHANNELS) + apart).astype(np.float32)
    told: dict[str, Any] = {
        "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "md5": f"{number:032x}",
        "size_bytes": 10,
        "media_type": "image/png",
        "width": 4,
        "height": 4,
        "source": ItemSource.OPERATOR,
        "is_anomaly": number % 3 == 0 if is_anomaly is None else is_anomaly,
        "label_id": UUID(int=number),
        "part_ids": (f"P-{number}",),
        "decided_by": str(draw.choice(["anna", "ben", "eve"])),
        "decided_at": START + timedelta(minutes=number),
        "look": Look(10 + draw.random(), 0.5 + 0.01 * draw.random(), 0.0, int(draw.integers(2**63)), embedding),
    }
    return Row(**told | facts)


def built(rows: Sequence[Row], **choices: Any) -> Built:
    facts: dict[str, Any] = {"name": "golden", "recipe": "bracket", "seed": 0}
    return build(rows, **facts | choices)


def sides(found: Built) -> dict[str, Split]:
    return {item.part_key: item.split for item in found.items}


def reasons(found: Built, reason: AsideReason) -> set[str]:
    return {aside.sha256 for aside in found.asides if aside.reason is reason}


def test_the_same_labels_in_another_order_are_the_same_snapshot() -> None:
    rows = [row(number) for number in range(60)]
    first, second = built(rows), built(rows[::-1])
    assert canonical(first.counts) == canonical(second.counts)
    assert sides(first) == sides(second) != sides(built(rows, seed=1))
    assert {"train", "test"} <= set(sides(first).values())


def test_a_part_stays_on_its_side_whatever_joins_it() -> None:
    first = built([row(number) for number in range(40)])
    learned = {item.part_key for item in first.items if item.split in (Split.TRAIN, Split.VALIDATION)}
    known = Protection(
        pool=first.pool_keys, trained=learned | {"image:" + i.sha256 for i in first.items if i.part_key in learned}
    )
    # Seen again under the same serial number, and once without one: the picture tells.
    again = [row(number + 1000, look=number, part_ids=() if number == 5 else (f"P-{number}",)) for number in range(8)]
    second = built([row(number) for number in range(40)] + again, protection=known, seed=7)
    judged = {key for key, side in sides(first).items() if side is Split.TEST}
    assert judged and judged == {key for key, side in sides(second).items() if side is Split.TEST}
    assert all(len({i.split for i in second.items if i.part_key == key}) <= 1 for key in sides(first))


def test_whole_lots_are_drawn_where_there_are_enough() -> None:
    few = built([row(number, lots=(f"L-{number % 5}",)) for number in range(60)])
    many = built([row(number, lots=(f"L-{number % 20}",)) for number in range(120)])
    assert (few.counts["split_by"], many.counts["split_by"]) == ("part", "lot")
    judged = {item.lot for item in many.items if item.split is Split.TEST}
    assert judged and not judged & {item.lot for item in many.items if item.split is not Split.TEST}


def test_what_models_were_taught_from_is_never_judged() -> None:
    taught = [row(number + 1, part_ids=(), source=ItemSource.TAUGHT, label_id=None) for number in range(0, 60, 3)]
    alike = [row(number + 2000, False, look=number + 1, part_ids=()) for number in range(0, 60, 3)]
    found = built([*taught, *alike])
    assert set(sides(found).values()) == {Split.TRAIN} and not found.pool_keys
    pool = {f"image:{taught[0].sha256}"}
    found = built([*taught, *alike], protection=Protection(pool=pool))
    assert taught[0].sha256 in reasons(found, AsideReason.NEAR_DUPLICATE)
    assert taught[0].sha256 not in {item.sha256 for item in found.items}


def test_pictures_that_are_alike_and_labelled_both_ways_are_set_aside() -> None:
    rows = [row(number) for number in range(40)]
    found = built([*rows, row(4000, True, look=1), row(4001, False, look=4)])
    assert reasons(found, AsideReason.CONTRADICTION) == {rows[1].sha256, row(4000).sha256}


def test_a_look_alike_of_a_judged_part_is_not_learned_from() -> None:
    rows = [row(number) for number in range(40)]
    judged = next(item for item in built(rows).items if item.split is Split.TEST)
    place = int(judged.part_key.removeprefix("part:P-"))
    found = built([*rows, *(row(5000 + more, place % 3 == 0, look=place) for more in range(8))])
    sides_of = {item.sha256: item.split for item in found.items}
    left = {sides_of.get(row(5000 + more).sha256, "set aside") for more in range(8)}
    assert sides_of[judged.sha256] is Split.TEST and left <= {Split.TEST, "set aside"} and "set aside" in left


def test_flipped_labels_are_found_and_make_the_snapshot_unfit() -> None:
    rows = [row(number) for number in range(150)]
    assert built(rows).unfit is None
    flipped = {number for number in range(150) if np.random.default_rng(number + 9).random() < 0.2}
    poisoned = [row(number, (number % 3 == 0) ^ (number in flipped)) for number in range(150)]
    found = built(poisoned)
    doubted = reasons(found, AsideReason.UNLIKE_ALIKE)
    wrong = {row(number).sha256 for number in flipped}
    assert len(doubted & wrong) >= 0.8 * len(wrong) and len(doubted - wrong) <= 0.1 * 150
    assert found.unfit is not None and "contradicted by the images like them" in found.unfit
    learned = {item.sha256 for item in found.items if item.split is not Split.TEST}
    assert not learned & doubted, "what is learned from is free of them"
    listed = {aside.sha256: aside.used for aside in found.asides}
    assert all(listed[item.sha256] for item in found.items if item.sha256 in doubted), (
        "judged parts stay, and are listed"
    )
    released = {(one.sha256, one.label_id) for one in poisoned}
    assert built(poisoned, released=released).unfit is None and len(built(poisoned, released=released).items) == 150


@pytest.mark.parametrize("kind", ["always anomaly", "the opposite"])
def test_an_operator_who_suddenly_labels_otherwise_is_found_with_the_moment(kind: str) -> None:
    honest = [row(number) for number in range(240)]
    assert not reasons(built(honest), AsideReason.OPERATOR_SHIFT)
    rows = [
        replace(one, is_anomaly=True if kind == "always anomaly" else not one.is_anomaly)
        if one.decided_by == "ben" and number >= 140
        else one
        for number, one in enumerate(honest)
    ]
    bad = {one.sha256 for one, before in zip(rows, honest, strict=True) if one != before}
    bens = {one.sha256 for one in rows if one.decided_by == "ben"}
    found = reasons(built(rows), AsideReason.OPERATOR_SHIFT)
    assert found <= bens and len(found & bad) >= 0.9 * len(bad)


def test_a_worse_lot_is_no_worse_operator() -> None:
    """From one moment on all parts are defective, and look it."""
    rows = [row(number if number < 120 else 3 * number, part_ids=(f"P-{number}",)) for number in range(200)]
    rows = [replace(one, decided_at=START + timedelta(minutes=place)) for place, one in enumerate(rows)]
    assert not reasons(built(rows), AsideReason.OPERATOR_SHIFT)


def test_a_defect_marked_on_another_view_alone_says_nothing_of_this_one() -> None:
    view = {
        **dict.fromkeys(("part_id", "lot", "inspection_id", "label_id", "decided_at", "anomaly_score")),
        **{"sha256": "a" * 64, "md5": "b" * 32, "size_bytes": 1, "media_type": "image/png", "width": 4, "height": 4},
        **{"camera": "side", "decision": "anomaly", "defects": ["crack"], "decided_by": "anna"},
        "said": [{"person": "anna", "decision": "anomaly"}],
        "regions": [{"number": 1, "kind": "box", "points": [[0, 0], [1, 1]], "mask_sha256": None, "camera": "top"}],
    }
    found = built([decided([view])])
    assert [aside.reason for aside in found.asides] == [AsideReason.OTHER_VIEW] and found.items == []
    assert found.unfit == "no image is left to learn from"

"""When a champion's memory is kept by a run, and when it is taught anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from storage.image_store import ImageStore
from storage.snapshot_models import SnapshotItem
from workers.retrain.material import Material
from workers.retrain.retraining import memory_will_do, rejects_too_many

SCORES = {f"good-{number}": 0.5 for number in range(90)}


def material(
    good: int, raw_scores: Mapping[str, float], *, bad: tuple[str, ...] = ("bad-0", "bad-1"), sibling: bool = False
) -> Material:
    names = [*(f"good-{number}" for number in range(good)), *bad]
    items = [SnapshotItem(sha256=name, part_key=f"part:{name}", is_anomaly=name in bad) for name in names]
    if sibling:
        items.append(SnapshotItem(sha256="sibling", part_key="part:good-0", is_anomaly=False))
    return Material(items, ImageStore(Path("nowhere")), 1, 1.0, frozenset(raw_scores), raw_scores)


@pytest.mark.parametrize(("good", "will_do"), [(90, True), (100, True), (101, False)])
def test_a_tenth_of_the_good_images_may_be_unknown(good: int, will_do: bool) -> None:
    assert memory_will_do(material(good, SCORES)) is will_do


def test_what_it_said_of_the_known_must_have_been_kept() -> None:
    assert not memory_will_do(material(90, {}))


def test_an_image_that_is_not_good_any_more_must_be_forgotten() -> None:
    assert not memory_will_do(material(89, SCORES)), "it is set aside, or its label was taken back"
    assert not memory_will_do(material(89, SCORES, bad=("good-89", "bad-1"))), "its label was turned"


def test_one_more_image_of_a_part_it_knows_would_be_judged_by_what_knows_the_part() -> None:
    assert not memory_will_do(material(90, SCORES, sibling=True))


@pytest.mark.parametrize(
    ("rejected", "among", "too_many"), [(0, 0, False), (1, 1, False), (2, 10, False), (4, 10, True), (12, 100, True)]
)
def test_good_parts_that_look_otherwise_are_learned(rejected: int, among: int, too_many: bool) -> None:
    assert rejects_too_many(np.arange(among) < rejected, 0.05) is too_many

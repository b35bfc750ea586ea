"""When a champion's memory is kept by a run, and when it is taught anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from storage.image_store import ImageStore
from storage.snapshot_models import SnapshotItem
from workers.retrain.material import Material
from workers.retrain.retraining import memory_will_do

SCORES = {f"good-{number}": 0.5 for number in range(90)}


def material(good: int, raw_scores: Mapping[str, float], *, bad: tuple[str, ...] = ("bad-0", "bad-1")) -> Material:
    names = [*(f"good-{number}" for number in range(good)), *bad]
    items = [SnapshotItem(sha256=name, part_key=f"part:{name}", is_anomaly=name in bad) for name in names]
    return Material(items, ImageStore(Path("nowhere")), 1, 1.0, frozenset(raw_scores), raw_scores)


@pytest.mark.parametrize(("good", "will_do"), [(90, True), (100, True), (101, False)])
def test_a_tenth_of_the_good_images_may_be_unknown(good: int, will_do: bool) -> None:
    assert memory_will_do(material(good, SCORES)) is will_do


def test_what_it_said_of_the_known_must_have_been_kept() -> None:
    assert not memory_will_do(material(90, {}))


def test_an_image_that_is_not_good_any_more_must_be_forgotten() -> None:
    assert not memory_will_do(material(89, SCORES)), "it is set aside, or its label was taken back"
    assert not memory_will_do(material(89, SCORES, bad=("good-89", "bad-1"))), "its label was turned"

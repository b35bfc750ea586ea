"""A camera that moved, a lamp that was exchanged: told among labelled good parts, whichever side they were drawn to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from storage.events import new_id
from storage.images import Image
from storage.snapshot_models import ItemSource, SnapshotItem, Split
from workers.datasets.disturbance import lit, moved
from workers.retrain import camera

SEEDS = range(4)
Change = Callable[[Image], Image]
CHANGES: dict[str, Change] = {
    "position": lambda image: moved(image, 4.0, 1.0),
    "lighting": lambda image: lit(image, 0.8),
    "focus": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 1.2), np.uint8),
}
SIDE = 96


def part(number: int) -> Image:
    """Brushed metal in a fixture; light and place vary a little from part to part."""
    random = np.random.default_rng(number)
    image = random.integers(95, 145, (SIDE, 1)).repeat(SIDE, axis=1) + random.integers(-6, 7, (SIDE, SIDE))
    cv2.rectangle(picture := image.astype(np.uint8), (20, 20), (72, 64), 225, 3)
    return lit(moved(picture, *random.uniform(-1, 1, 2).tolist()), random.uniform(0.96, 1.04))


class Shelf:
    """Good images with what a snapshot says of them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.items: list[SnapshotItem] = []
        self.images: dict[str, Image] = {}

    def add(self, count: int, change: Change = lambda image: image, **facts: object) -> frozenset[str]:
        """So many more, one after another, a fifth of them in the pool; their SHA-256."""
        random, added = np.random.default_rng(self.seed + len(self.items)), set()
        for _ in range(count):
            name = f"{len(self.items):064x}"
            told = {"source": ItemSource.OPERATOR, "camera": "top", "inspection_id": later(len(self.items))} | facts
            split = Split.TEST if random.random() < 0.2 else Split.TRAIN
            self.items.append(SnapshotItem(sha256=name, split=split, is_anomaly=False, **told))
            self.images[name] = change(part(10_000 * self.seed + len(self.items)))
            added.add(name)
        return frozenset(added)

    def taught(self, count: int) -> frozenset[str]:
        return self.add(count, source=ItemSource.TAUGHT, camera=None, inspection_id=None)

    def moved(self, older: frozenset[str] = frozenset(), same_since: datetime | None = None) -> str | None:
        return camera.moved(self.items[::-1], older, same_since, lambda item: self.images[item.sha256], self.seed)


BEGAN = 1_800_000_000_000  # milliseconds


def later(number: int) -> object:
    made = new_id()
    return type(made)(int=((BEGAN + 1000 * number) << 80) | (made.int & ((1 << 80) - 1)))


def at(number: int) -> datetime:
    return datetime.fromtimestamp(BEGAN / 1000 + number, UTC)


@pytest.mark.parametrize("cause", CHANGES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_change_in_the_middle_is_seen_though_both_sides_have_drawn_of_it(cause: str, seed: int) -> None:
    shelf = Shelf(seed)
    shelf.add(100)
    shelf.add(200, CHANGES[cause])
    reason = shelf.moved()
    assert reason is not None and (f"({cause}" in reason or "(mixed" in reason)


@pytest.mark.parametrize("cause", CHANGES)
@pytest.mark.parametrize("seed", SEEDS)
def test_labels_that_all_came_after_the_change_are_held_against_what_the_champion_was_taught_from(
    cause: str, seed: int
) -> None:
    shelf = Shelf(seed)
    taught = shelf.taught(60)
    shelf.add(120, CHANGES[cause])
    reason = shelf.moved(taught)
    assert reason is not None and (f"({cause}" in reason or "(mixed" in reason)


@pytest.mark.parametrize("cause", CHANGES)
@pytest.mark.parametrize("seed", SEEDS)
def test_all_that_was_labelled_since_the_champion_s_snapshot_was_shifted(cause: str, seed: int) -> None:
    shelf = Shelf(seed)
    shelf.taught(60)
    older = shelf.add(80)
    shelf.add(50, CHANGES[cause])
    reason = shelf.moved(older)
    assert reason is not None and (f"({cause}" in reason or "(mixed" in reason)


@pytest.mark.parametrize("seed", range(12))
def test_without_a_change_nothing_is_refused(seed: int) -> None:
    shelf = Shelf(seed)
    taught = shelf.taught(60)
    assert shelf.moved(taught) is None
    older = shelf.add(100)
    assert shelf.moved(taught) is None
    shelf.add(200)
    assert shelf.moved(taught) is None and shelf.moved(older) is None and shelf.moved() is None


def test_a_change_that_was_taken_back_is_still_not_learned_from() -> None:
    shelf = Shelf(0)
    older = shelf.add(80)
    shelf.add(60)
    shelf.add(60, CHANGES["position"])
    shelf.add(60)
    assert shelf.moved(older) is not None


def test_one_camera_s_images_are_not_compared_with_another_s() -> None:
    shelf = Shelf(0)
    older = shelf.add(60, camera="top") | shelf.add(60, CHANGES["lighting"], camera="side")
    shelf.add(60, camera="top")
    shelf.add(60, CHANGES["lighting"], camera="side")
    assert shelf.moved(older) is None
    shelf.add(60, CHANGES["lighting"], camera="top")
    assert shelf.moved(older) is not None


def test_an_engineer_s_word_that_it_stays_as_it_is_now_makes_it_the_usual() -> None:
    shelf = Shelf(0)
    older = shelf.add(100)
    shelf.add(150, CHANGES["lighting"])
    assert shelf.moved(older) is not None
    assert shelf.moved(older, at(100)) is None
    shelf.add(60, lambda image: CHANGES["lighting"](CHANGES["lighting"](image)))
    assert shelf.moved(older, at(100)) is not None


def test_too_few_images_tell_nothing() -> None:
    shelf = Shelf(0)
    older = shelf.add(39)
    shelf.add(39, CHANGES["lighting"])
    assert shelf.moved(older) is None

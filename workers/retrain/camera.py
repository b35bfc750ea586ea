"""Whether the images to learn from were taken as those were that the champion knows.

Training images and protected ones are drawn from the same stream: whatever happened to the camera happened to both. So
what came since the champion is compared with what was there before, a stretch of time after the other. Good parts alone
are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final

import numpy as np

from storage.images import Image
from storage.snapshot_models import ItemSource, SnapshotItem
from workers.drift.diagnosis import diagnose
from workers.drift.look import look
from workers.drift.sample import sample_of

FEWEST: Final = 40
"""Images below which nothing is said."""
MOST: Final = 120
"""Images that are looked at, of what was before and of each window: half a second."""
WINDOW: Final = 60
"""Images in which a change is looked for: fewer would not tell, in more a change at the end would drown."""
MOST_WINDOWS: Final = 6

Items = list[SnapshotItem]


def moved(
    good: Sequence[SnapshotItem],
    older: AbstractSet[str],
    same_since: datetime | None,
    read: Callable[[SnapshotItem], Image],
    seed: int = 0,
) -> str | None:
    """Why the images are not to be learned from; None also where there are too few to tell.

    older: SHA-256 of the images the champion knows. same_since: when an engineer last said that the images stay as they
    are now: then nothing from before that is compared, and what came first after it is what the rest is compared with.
    """
    for before, since in sides(good, older, same_since):
        found = windows(since)
        if len(before) < FEWEST or not found:
            continue
        if reason := compared(drawn(before, read, seed), [drawn(window, read, seed) for window in found], seed):
            return reason
    return None


def compared(before: Iterable[Image], windows: Sequence[Iterable[Image]], seed: int = 0) -> str | None:
    known = sample_of((look(image) for image in before), seed)
    for number, window in enumerate(windows, start=1):
        found = diagnose(known, sample_of((look(image) for image in window), seed))
        if found.cause.is_camera:
            when = f", in part {number} of {len(windows)}" if len(windows) > 1 else ""
            return (
                "the images to learn from were not taken as those were that the champion knows "
                f"({found.cause}{when}): {found.sentence}"
            )
    return None


def sides(
    good: Sequence[SnapshotItem], older: AbstractSet[str], same_since: datetime | None
) -> Iterator[tuple[Items, Items]]:
    """Of each camera what was before, and what came since, in the order in which it was taken."""
    cameras = sorted({item.camera for item in good if item.camera is not None})
    for camera in cameras:
        names = (camera, None) if len(cameras) == 1 else (camera,)  # what a model was taught from names no camera
        here = sorted((item for item in good if item.camera in names), key=taken)
        if same_since is not None:
            here, older = [item for item in here if taken(item) >= milliseconds(same_since)], frozenset()
        before = [item for item in here if item.sha256 in older]
        since = [item for item in here if item.sha256 not in older and item.source is not ItemSource.TAUGHT]
        if len(before) < FEWEST:
            first = max(FEWEST, len(here) // 4)
            before, since = here[:first], here[first:]
        yield before, since


def windows(since: Items) -> list[Items]:
    """One after another, each of enough images to tell; none of too few."""
    if len(since) < FEWEST:
        return []
    count = min(max(len(since) // WINDOW, 1), MOST_WINDOWS)
    return [[since[place] for place in places] for places in np.array_split(np.arange(len(since)), count)]


def drawn(some: Items, read: Callable[[SnapshotItem], Image], seed: int) -> Iterator[Image]:
    """Read when they are wanted: all at once they would fill the memory."""
    places = np.random.default_rng(seed).permutation(len(some))[:MOST]
    return (read(some[place]) for place in sorted(places.tolist()))


def taken(item: SnapshotItem) -> int:
    """When the part was triggered, in milliseconds: an inspection's id begins with it. 0 of what no line took."""
    return item.inspection_id.int >> 80 if item.inspection_id else 0


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)

"""Frames to measure a retraining run with: real solar cells as a camera would take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final, NamedTuple, Protocol

import cv2

from storage.errors import TeachingFailed
from storage.image_store import ImageStore
from storage.images import decode, describe
from storage.label_models import RegionKind
from storage.snapshot_models import ItemSource, SnapshotItem, Split
from workers import elpv
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.tail_configuration import TailConfiguration
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.looking import Looking

MEGAPIXELS: Final = 400.0  # as large as --frame may be
FROZEN: Final = TailConfiguration(least_labels=0)
"""Fine-tuning of the backbone takes minutes, kept features or not."""
Say = Callable[[str], None]


class Pixels(NamedTuple):
    width: int
    height: int


def taken(frames: int, size: Pixels, store: ImageStore, seed: int) -> list[SnapshotItem]:
    """So many labelled cells, drawn by the seed, as a snapshot would have them."""
    cells = [cell for cell in elpv.cells("all") if cell.probability in (0, 1)]
    if frames > len(cells):
        raise TeachingFailed(f"--frames: {frames} labelled cells are asked for; the dataset has {len(cells)}")
    return [stored(store, cell, size) for cell in Random(seed).sample(cells, frames)]


def stored(store: ImageStore, cell: elpv.Cell, size: Pixels) -> SnapshotItem:
    """The cell as a colour camera of that size would take it, and as a snapshot would name it."""
    image = cv2.cvtColor(decode(cell.path.read_bytes()), cv2.COLOR_GRAY2BGR)
    data = cv2.imencode(".jpg", cv2.resize(image, size))[1].tobytes()
    facts = describe(data)
    kept = store.put(data, facts.suffix)
    return SnapshotItem(
        snapshot="bench",
        sha256=kept.sha256,
        md5=kept.md5,
        size_bytes=kept.size_bytes,
        media_type=facts.media_type,
        width=facts.width,
        height=facts.height,
        part_key=f"image:{kept.sha256}",
        split=Split.TRAIN,
        is_anomaly=cell.probability == 1,
        defects=[],
        regions=[box_in(facts.width, facts.height)] if cell.probability == 1 else [],
        source=ItemSource.OPERATOR,
    )


def box_in(width: int, height: int) -> dict[str, Any]:
    """As an operator draws one around a defect; where it is changes no time."""
    corners = [[width // 4, height // 4], [width // 2, height // 2]]
    return {"kind": RegionKind.BOX, "points": corners, "mask_sha256": None}


class Timed(Protocol):
    """Seconds of a run, and of its looks at the frames."""

    @property
    def seconds(self) -> float: ...
    @property
    def features(self) -> float: ...
    def parts(self) -> dict[str, float]: ...


def figures(frames: int, size: Pixels, fresh: Timed, cached: Timed, cache: FeatureCache) -> dict[str, Any]:
    """Of a run with nothing kept and of one from kept features."""
    return {
        "frames": frames,
        "frame": f"{size.width}x{size.height}",
        "fresh_seconds": round(fresh.seconds, 2),
        "cached_seconds": round(cached.seconds, 2),
        "share": round(cached.seconds / fresh.seconds, 4),
        "features_share": round(cached.features / fresh.features, 4),
        "parts": {"fresh": fresh.parts(), "cached": cached.parts()},
        "cache_bytes": sum(status.st_size for _, status in cache.files()),
    }


def keep_lessons(looking: Looking, detector: SupervisedDetector) -> None:
    """For the next run, as each run does at its end."""
    assert detector.representation is not None, "it was learned just now"
    for item in looking.material.items:
        looking.keep_lessons(item, detector.representation)


def told(say: Say, name: str, step: str) -> None:
    say(f"{name}: {step}")


def counted(items: Sequence[SnapshotItem], say: Say) -> Iterator[SnapshotItem]:
    every = 100 if len(items) > 200 else 10
    for number, item in enumerate(items):
        if number % every == 0:
            say(f"features of {number} of {len(items)} frames")
        yield item

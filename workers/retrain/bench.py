"""What a retraining run costs from kept features, beside one that decodes and looks at every frame again.

Real solar cells as a camera would take them. The champion knows all but the newest of them, as it does when a schedule
retrains it: its memory is kept. What a memory taught anew would cost is told as well. Without fine-tuning of the
backbone, which takes minutes in any of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from storage.errors import TeachingFailed
from storage.image_store import ImageStore
from storage.images import decode, describe
from storage.snapshot_models import ItemSource, SnapshotItem, Split
from workers import elpv
from workers.datasets.disturbance import drawn
from workers.detectors.detector import Detector
from workers.detectors.frame_features import Look, Looker
from workers.detectors.labelled import Seen
from workers.detectors.patchcore import PatchCoreConfiguration
from workers.detectors.registry import use_threads
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_teaching import teach
from workers.detectors.supervised_training import learned
from workers.detectors.tail_configuration import TailConfiguration
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.looking import Looking
from workers.retrain.material import Material
from workers.retrain.retraining import representation_of

NEW_SHARE: Final = 0.05
"""Of the frames: labelled since the champion was trained."""
MEGAPIXELS: Final = 400.0  # as large as --frame may be
FROZEN: Final = TailConfiguration(least_labels=0)
Say = Callable[[str], None]


class Pixels(NamedTuple):
    width: int
    height: int


def bench_retrain(frames: int, size: Pixels, folder: Path, seed: int, say: Say) -> dict[str, Any]:
    """All in one process on one thread, on the same frames: first with an empty cache, then with a full one."""
    use_threads(1)
    cells = [cell for cell in elpv.cells("all") if cell.probability in (0, 1)]
    if frames > len(cells):
        raise TeachingFailed(f"--frames: {frames} labelled cells are asked for; the dataset has {len(cells)}")
    store = ImageStore(folder / "images")
    items = [stored(store, cell, size) for cell in Random(seed).sample(cells, frames)]
    say("teaching the champion")
    champion, raw_scores = taught(items[: -round(NEW_SHARE * frames)], store, seed)
    material = material_of(items, store, raw_scores)

    def looking(base: Detector, where: str) -> Looking:
        return Looking(base, material, FeatureCache(folder / where, 1 << 40), "cpu")

    fresh, cached = (
        timed(looking(champion.base, "features"), champion, seed, partial(told, say, name))
        for name in ("fresh", "cached")
    )
    anew = timed_anew(looking(champion.base, "anew"), seed, partial(told, say, "the memory too"))
    return {
        "frames": frames,
        "frame": f"{size.width}x{size.height}",
        "image_size": champion.image_size,
        "fresh_seconds": round(fresh.seconds, 2),
        "cached_seconds": round(cached.seconds, 2),
        "share": round(cached.seconds / fresh.seconds, 4),
        "features_share": round(cached.features / fresh.features, 4),
        "parts": {name: one.parts() for name, one in (("fresh", fresh), ("cached", cached))},
        "memory_anew": {name: one.parts() for name, one in (("fresh", anew[0]), ("cached", anew[1]))}
        | {"share": round(anew[1].seconds / anew[0].seconds, 4)},
        "cache_bytes": sum(status.st_size for _, status in FeatureCache(folder / "features", 0).files()),
    }


def told(say: Say, name: str, step: str) -> None:
    say(f"{name}: {step}")


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
        regions=[],
        source=ItemSource.OPERATOR,
    )


def material_of(items: Sequence[SnapshotItem], store: ImageStore, raw_scores: Mapping[str, float]) -> Material:
    """raw_scores: of the images that the champion's memory knows."""
    side = PatchCoreConfiguration().image_size
    return Material(items, store, side, MEGAPIXELS, frozenset(raw_scores), raw_scores)


def taught(known: Sequence[SnapshotItem], store: ImageStore, seed: int) -> tuple[SupervisedDetector, dict[str, float]]:
    """The champion, and of each good image the raw score of a memory that does not know it."""
    material, configuration = material_of(known, store, {}), PatchCoreConfiguration()
    looker = Looker(Look(configuration.image_size, configuration.local_contrast))

    def seen(item: SnapshotItem) -> Seen:
        image = material.image(item)
        copy = drawn(image, int(item.sha256[:8], 16))
        return Seen(looker.features(image), item.is_anomaly, disturbed=looker.features(copy))

    frames = [seen(item) for item in known]
    detector, raw_scores = teach(frames, groups=material.groups, base=configuration, tail=FROZEN, seed=seed)
    return detector, {known[place].sha256: raw for place, raw in raw_scores.items()}


class Timed(NamedTuple):
    """Seconds for the features and scores, and for learning from them."""

    features: float
    learning: float

    @property
    def seconds(self) -> float:
        return self.features + self.learning

    def parts(self) -> dict[str, float]:
        return {"features": round(self.features, 2), "learning": round(self.learning, 2)}


def timed(looking: Looking, champion: SupervisedDetector, seed: int, say: Say) -> Timed:
    """As a retraining run does it on a memory that is kept."""
    began = time.perf_counter()
    items, kept = looking.material.items, representation_of(champion, looking.base, looking.material)
    for item in counted(items, say):
        looking.look_at(item, kept)
    scores = np.array([looking.score_by_memory(item) for item in items])
    known = looking.represented(items, kept)
    seen = time.perf_counter()
    say("learning")
    learned(
        looking.base,
        known,
        [replace(one, is_taught=False) for one in looking.decided()],
        scores,
        groups=looking.material.groups,
        configuration=looking.configuration,
        tail=FROZEN,
        seed=seed,
    )
    return Timed(seen - began, time.perf_counter() - seen)


def timed_anew(looking: Looking, seed: int, say: Say) -> tuple[Timed, Timed]:
    """With nothing kept, and from kept features; both learn the same."""
    material, seconds = looking.material, []
    for name in ("fresh", "cached"):
        began = time.perf_counter()
        frames = [looking.seen(item) for item in counted(material.items, partial(told, say, name))]
        seconds.append(time.perf_counter() - began)
    say("learning")
    began = time.perf_counter()
    teach(frames, groups=material.groups, base=PatchCoreConfiguration(), tail=FROZEN, seed=seed)
    learning = time.perf_counter() - began
    return Timed(seconds[0], learning), Timed(seconds[1], learning)


def counted(items: Sequence[SnapshotItem], say: Say) -> Iterator[SnapshotItem]:
    for number, item in enumerate(items):
        if number % 100 == 0:
            say(f"features of {number} of {len(items)} frames")
        yield item

"""What a refit costs from kept features, beside a run that decodes and looks at every frame again: real solar cells.

Without fine-tuning, which takes minutes in either of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from storage.errors import TeachingFailed
from storage.image_store import ImageStore
from storage.images import decode, describe
from storage.snapshot_models import ItemSource, SnapshotItem, Split
from workers import elpv
from workers.detectors.labelled import Seen
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.registry import use_threads
from workers.detectors.supervised_training import refit
from workers.detectors.tail_configuration import TailConfiguration
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.looking import Looking
from workers.retrain.material import Material

TAUGHT: Final = 100
Say = Callable[[str], None]


def bench_retrain(frames: int, folder: Path, seed: int, say: Say) -> dict[str, Any]:
    """Both in one process on one thread, on the same frames: first with an empty cache, then with a full one."""
    use_threads(1)
    cells = [cell for cell in elpv.cells("all") if cell.probability in (0, 1)]
    taught = [cell for cell in Random(seed).sample([cell for cell in cells if cell.good], TAUGHT)]
    rest = [cell for cell in cells if cell not in set(taught)]
    if frames > len(rest):
        raise TeachingFailed(f"--frames: {frames} labelled cells are asked for; the dataset has {len(rest)} to spare")
    chosen = Random(seed).sample(rest, frames)
    store = ImageStore(folder / "images")
    say("teaching the detector beneath")
    base = taught_detector(taught, seed)
    material = Material([stored(store, cell) for cell in chosen], store, base.image_size, 100.0)
    cache = FeatureCache(folder / "features", 1 << 40)
    parts: dict[str, dict[str, float]] = {}
    processor: dict[str, float] = {}
    for name in ("fresh", "cached"):
        begun = time.process_time()
        parts[name] = timed(base, material, cache, seed, partial(told, say, name))
        processor[name] = time.process_time() - begun  # what else the machine does is not in it
    fresh, cached = (sum(parts[name].values()) for name in ("fresh", "cached"))
    return {
        "frames": frames,
        "image_size": base.image_size,
        "fresh_seconds": round(fresh, 2),
        "cached_seconds": round(cached, 2),
        "share": round(cached / fresh, 4),
        "features_share": round(parts["cached"]["features"] / parts["fresh"]["features"], 4),
        "processor_share": round(processor["cached"] / processor["fresh"], 4),
        "parts": {name: {step: round(took, 2) for step, took in one.items()} for name, one in parts.items()},
        "cache_bytes": sum(status.st_size for _, status in cache.files()),
    }


def told(say: Say, name: str, step: str) -> None:
    say(f"{name}: {step}")


def taught_detector(cells: list[elpv.Cell], seed: int) -> PatchCore:
    images = [decode(cell.path.read_bytes()) for cell in cells]
    return teach(images, configuration=PatchCoreConfiguration(), seed=seed)


def stored(store: ImageStore, cell: elpv.Cell) -> SnapshotItem:
    """The cell as a snapshot would name it."""
    data = cell.path.read_bytes()
    facts, kept = describe(data), store.put(data, describe(data).suffix)
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


def timed(base: PatchCore, material: Material, cache: FeatureCache, seed: int, say: Say) -> dict[str, float]:
    """Seconds for the features and scores, and for learning from them."""
    looking = Looking(base, material, cache, "cpu")
    began = time.perf_counter()
    lessons: list[tuple[Seen, float]] = []
    for number, item in enumerate(material.items):
        if number % 100 == 0:
            say(f"features of {number} of {len(material.items)} frames")
        lessons.append(looking.lesson(item))
    seen = time.perf_counter()
    say("learning from them")
    frames, scores = [frame for frame, _ in lessons], np.array([score for _, score in lessons])
    frozen = TailConfiguration(least_labels=0)
    refit(base, frames, scores, groups=material.groups, configuration=looking.configuration, tail=frozen, seed=seed)
    return {"features": seen - began, "learning": time.perf_counter() - seen}

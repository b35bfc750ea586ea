"""What a retraining run costs from kept features, beside one that decodes and looks at every frame again.

Real solar cells as a camera would take them. The champion knows all but the newest of them, as it does when a schedule
retrains it: its memory is kept. What a memory taught anew would cost is told as well. Without fine-tuning of the
backbone, which takes minutes in any of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from storage.image_store import ImageStore
from storage.images import decode
from storage.snapshot_models import SnapshotItem
from workers.detectors.frame_features import Look, Looker
from workers.detectors.labelled import Seen
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach_judged
from workers.detectors.registry import use_threads
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_teaching import teach
from workers.detectors.supervised_training import refit
from workers.retrain.bench_frames import FROZEN, MEGAPIXELS, Pixels, Say, counted, taken, told
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.looking import Looking
from workers.retrain.material import Material

NEW_SHARE: Final = 0.05
"""Of the frames: labelled since the champion was trained."""


def bench_retrain(frames: int, size: Pixels, folder: Path, seed: int, say: Say) -> dict[str, Any]:
    """All in one process on one thread, on the same frames: first with an empty cache, then with a full one."""
    use_threads(1)
    store = ImageStore(folder / "images")
    items = taken(frames, size, store, seed)
    say("teaching the champion's memory")
    known = [item for item in items[: -round(NEW_SHARE * frames)] if not item.is_anomaly]
    champion, raw_scores = memory(known, store, seed)
    material = Material(items, store, champion.image_size, MEGAPIXELS, frozenset(raw_scores), raw_scores)
    cache = FeatureCache(folder / "features", 1 << 40)
    fresh, cached = (
        timed(Looking(champion, material, cache, "cpu"), seed, partial(told, say, name)) for name in ("fresh", "cached")
    )
    say("learning, the memory too")
    anew = anew_seconds(cached.frames, material.groups, champion, seed)
    return {
        "detector": SupervisedDetector.name,
        "frames": frames,
        "frame": f"{size.width}x{size.height}",
        "image_size": champion.image_size,
        "fresh_seconds": round(fresh.seconds, 2),
        "cached_seconds": round(cached.seconds, 2),
        "share": round(cached.seconds / fresh.seconds, 4),
        "features_share": round(cached.features / fresh.features, 4),
        "parts": {name: one.parts() for name, one in (("fresh", fresh), ("cached", cached))},
        "memory_anew": {
            "learning": round(anew, 2),
            "share": round((cached.features + anew) / (fresh.features + anew), 4),
        },
        "cache_bytes": sum(status.st_size for _, status in cache.files()),
    }


def memory(known: Sequence[SnapshotItem], store: ImageStore, seed: int) -> tuple[PatchCore, dict[str, float]]:
    """What knows these good images, and the raw score of each by one that does not know it."""
    configuration = PatchCoreConfiguration()
    looker = Looker(Look(configuration.image_size, configuration.local_contrast))
    features = [looker.features(decode(store.get(item.sha256))) for item in known]
    detector, raw_scores = teach_judged(features, configuration=configuration, seed=seed)
    return detector, {item.sha256: raw for item, raw in zip(known, raw_scores, strict=True)}


class Timed(NamedTuple):
    """Seconds for the features and scores, and for learning from them."""

    features: float
    learning: float
    frames: list[Seen]

    @property
    def seconds(self) -> float:
        return self.features + self.learning

    def parts(self) -> dict[str, float]:
        return {"features": round(self.features, 2), "learning": round(self.learning, 2)}


def timed(looking: Looking, seed: int, say: Say) -> Timed:
    """As a retraining run does it on a memory that is kept."""
    began = time.perf_counter()
    frames, scores = looking.judged_by_memory(counted(looking.material.items, say))
    seen = time.perf_counter()
    say("learning")
    groups, configuration = looking.material.groups, looking.configuration
    refit(looking.base, frames, scores, groups=groups, configuration=configuration, tail=FROZEN, seed=seed)
    return Timed(seen - began, time.perf_counter() - seen, frames)


def anew_seconds(frames: Sequence[Seen], groups: Sequence[str], champion: PatchCore, seed: int) -> float:
    began = time.perf_counter()
    teach(frames, groups=groups, base=champion.configuration, tail=FROZEN, seed=seed)
    return time.perf_counter() - began

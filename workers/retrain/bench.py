"""What a retraining run costs from kept features, beside one that decodes and looks at every frame again.

Real solar cells as a camera would take them. The champion knows all but the newest of them, as it does when a schedule
retrains it: its memory is kept. What a memory taught anew would cost is told as well. Without fine-tuning of the
backbone, which takes minutes in any of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from storage.image_store import ImageStore
from storage.snapshot_models import SnapshotItem
from workers.datasets.disturbance import drawn
from workers.detectors.frame_features import Look, Looker
from workers.detectors.labelled import Seen
from workers.detectors.patchcore import PatchCoreConfiguration
from workers.detectors.registry import use_threads
from workers.detectors.summariser import fold_of
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_teaching import teach
from workers.detectors.supervised_training import learned
from workers.retrain.bench_frames import FROZEN, MEGAPIXELS, Pixels, Say, counted, figures, keep_lessons, taken, told
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.looking import Looking
from workers.retrain.material import Material
from workers.retrain.retraining import representation_of

NEW_SHARE: Final = 0.05
"""Of the frames: labelled since the champion was trained."""


def bench_retrain(frames: int, size: Pixels, folder: Path, seed: int, say: Say) -> dict[str, Any]:
    """All in one process on one thread, on the same frames: first with an empty cache, then with a full one."""
    use_threads(1)
    store = ImageStore(folder / "images")
    items = taken(frames, size, store, seed)
    say("teaching the champion")
    known, new = parted(items, round(NEW_SHARE * frames))
    champion, raw_scores = taught(known, store, seed)
    material = material_of(items, store, raw_scores, known)

    def looking(where: str) -> Looking:
        return Looking(champion.base, material, FeatureCache(folder / where, 1 << 40), "cpu")

    def timed_here(name: str) -> Timed:
        return timed(looking("features"), champion, seed, partial(told, say, name))

    fresh, cached = timed_here("fresh"), timed_here("cached")
    found = figures(frames, size, fresh, cached, looking("features").cache)
    for item in new:
        forget(looking("features").cache, item)
    coming = timed_here("the new ones not looked at")
    anew = timed_anew(looking("anew"), seed, partial(told, say, "the memory too"))
    return {
        "detector": SupervisedDetector.name,
        "image_size": champion.image_size,
        **found,
        "new": {"frames": len(new), **coming.parts(), "share": round(coming.seconds / fresh.seconds, 4)},
        "memory_anew": {
            "fresh": anew[0].parts(),
            "cached": anew[1].parts(),
            "share": round(anew[1].seconds / anew[0].seconds, 4),
        },
    }


def parted(items: Sequence[SnapshotItem], new: int) -> tuple[Sequence[SnapshotItem], Sequence[SnapshotItem]]:
    """Those the champion learned from, and so many that it did not."""
    return items[:-new], items[-new:]


def forget(cache: FeatureCache, item: SnapshotItem) -> None:
    """As if nobody had looked at the frame."""
    for path, _ in cache.files():
        if path.name.startswith(item.sha256):
            path.unlink()


def material_of(
    items: Sequence[SnapshotItem],
    store: ImageStore,
    raw_scores: Mapping[str, float],
    known: Sequence[SnapshotItem] = (),
) -> Material:
    """raw_scores: of the images that the champion's memory knows; known: those it learned from."""
    side = PatchCoreConfiguration().image_size
    represented = {item.sha256: fold_of(item.part_key) for item in known}
    return Material(items, store, side, MEGAPIXELS, frozenset(raw_scores), raw_scores, represented)


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
    detector = learned(
        looking.base,
        known,
        [replace(one, is_taught=False) for one in looking.decided],
        scores,
        groups=looking.material.groups,
        configuration=looking.configuration,
        tail=FROZEN,
        seed=seed,
    )
    keep_lessons(looking, detector)
    return Timed(seen - began, time.perf_counter() - seen)


def timed_anew(looking: Looking, seed: int, say: Say) -> tuple[Timed, Timed]:
    """With nothing kept, and from kept features; both learn the same."""
    material, base, seconds = looking.material, PatchCoreConfiguration(), list[float]()
    for name in ("fresh", "cached"):
        began = time.perf_counter()
        frames = [looking.seen(item) for item in counted(material.items, partial(told, say, name))]
        seconds.append(time.perf_counter() - began)
    say("learning")
    began = time.perf_counter()
    keep_lessons(looking, teach(frames, groups=material.groups, base=base, tail=FROZEN, seed=seed).detector)
    learning = time.perf_counter() - began
    return Timed(seconds[0], learning), Timed(seconds[1], learning)

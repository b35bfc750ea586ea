"""What a retraining run on an AnomalyCLIP costs from kept features, beside one that looks at every frame again.

Its CLIP is as large as a real one and its weights are noise, and so is the memory it begins with: the time is that of a
real one, and nothing is said of how well it judges. Half of the good frames are in that memory; of the others some join
them, and the rest is left to the head, as in a run. Without learning prompts on, which takes as long either way once
the frames were looked at.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from storage.image_store import ImageStore
from workers.detectors.anomalyclip import AnomalyCLIPConfig
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.forward_cost import anomalyclip_of_noise, configuration, memory_of_noise
from workers.detectors.registry import use_threads
from workers.detectors.supervised_training import beneath, learned
from workers.retrain.bench_frames import FROZEN, MEGAPIXELS, Pixels, Say, counted, figures, keep_lessons, taken, told
from workers.retrain.feature_cache import FeatureCache
from workers.retrain.looking import Looking
from workers.retrain.material import Material
from workers.retrain.memory import remembered
from workers.retrain.retraining import kept_good, refreshing

SHAPE: Final = "ViT-B-16"
IMAGE_SIZE: Final = 512  # what a recipe's 518 pixels are in whole patches of 16
RATE: Final = 0.05  # of false rejects, and of parts in review


def published(shape: str = SHAPE) -> AnomalyCLIPConfig:
    return replace(configuration(shape), image_size=IMAGE_SIZE)


def bench_anomalyclip(
    frames: int, size: Pixels, folder: Path, seed: int, say: Say, config: AnomalyCLIPConfig | None = None
) -> dict[str, Any]:
    """All in one process on one thread, on the same frames: first with an empty cache, then with a full one."""
    use_threads(1)
    torch.manual_seed(seed)
    store = ImageStore(folder / "images")
    items = taken(frames, size, store, seed)
    champion = anomalyclip_of_noise(config or published())
    good = [item.sha256 for item in items if not item.is_anomaly]
    side = max(champion.image_size, beneath(champion).image_size)
    material = Material(items, store, side, MEGAPIXELS, frozenset(good[: len(good) // 2]))
    cache = FeatureCache(folder / "features", 1 << 40)
    fresh = timed(champion, material, cache, seed, partial(told, say, "fresh"))
    # Another champion, and later other parts in its memory, as when a candidate was deployed since: no score is kept.
    later = champion.with_learned(memory=memory_of_noise(champion.model.config))
    cached = timed(later, material, cache, seed + 1, partial(told, say, "cached"))
    return {
        "detector": AnomalyCLIPDetector.name,
        "clip": f"{SHAPE}, weights of noise" if config is None else "weights of noise",
        "image_size": champion.image_size,
        **figures(frames, size, fresh, cached, cache),
    }


class Timed(NamedTuple):
    """Seconds for what is seen of the frames, the memory, the scores by it, and the head."""

    features: float
    memory: float
    scores: float
    learning: float

    @property
    def seconds(self) -> float:
        return sum(self)

    def parts(self) -> dict[str, float]:
        return {name: round(seconds, 2) for name, seconds in self._asdict().items()}


def timed(champion: AnomalyCLIPDetector, material: Material, cache: FeatureCache, seed: int, say: Say) -> Timed:
    """As a retraining run does it, phase by phase."""
    began = time.perf_counter()
    looking = Looking(champion, material, cache, "cpu")
    for item in counted(material.items, say):
        looking.look_at(item, None)
    looked = time.perf_counter()
    say("learning the memory")
    new = refreshing(material.good_parts(), kept_good(champion, material), seed)
    images = [item for item in material.items if material.is_taught(item) or item.part_key in new]
    base = remembered(
        looking, images, target_false_reject_rate=RATE, review_share=RATE, seed=seed, progress=nothing, told=nothing
    )
    knows = time.perf_counter()
    say("judging by it")
    known = replace(material, known=material.known | {item.sha256 for item in images})
    judging = Looking(base, known, cache, "cpu")
    scores = np.array([judging.score(item) for item in known.items])
    judged = time.perf_counter()
    say("learning from labels")
    detector = learned(
        base,
        judging.represented(known.items, None),
        judging.decided,
        scores,
        groups=known.groups,
        configuration=judging.configuration,
        tail=FROZEN,
        seed=seed,
    )
    keep_lessons(judging, detector)
    return Timed(looked - began, knows - looked, judged - knows, time.perf_counter() - judged)


def nothing(_: object) -> None:
    """Nobody watches."""

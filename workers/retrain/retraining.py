"""What comes of a champion and new labels: its memory refreshed, and a head on top that learned from the labels.

A champion that learned from labels is learned anew from all of them, on the one-class detector beneath it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from storage.errors import TrainingRefused
from storage.snapshot_models import SnapshotItem
from workers.detectors import anomalyclip_teaching, patchcore_teaching
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.detector import Detector
from workers.detectors.frame_features import FrameFeatures
from workers.detectors.labelled import LEAST_GROUPS_OF_A_CLASS
from workers.detectors.patchcore import PatchCore
from workers.detectors.supervised import SupervisedDetector
from workers.detectors.supervised_training import refit
from workers.retrain.looking import Looking
from workers.retrain.material import Material
from workers.retrain.run import Run

KEPT_GOOD: Final = 200
"""Parts decided to be good that no memory takes in: what a head is worth, and its thresholds, come from them."""


@dataclass(frozen=True)
class Retrained:
    """A candidate, what was made anew of it, and the images that its one-class detector knows."""

    detector: Detector
    made: str
    memory: frozenset[str]


def retrained(champion: Detector, material: Material, recipe: Mapping[str, Any], models: Path, run: Run) -> Retrained:
    """The candidate; TrainingRefused when there is nothing to learn from."""
    base = champion.base if isinstance(champion, SupervisedDetector) else champion
    both = min(len(material.good_parts()), len(material.bad_parts())) >= LEAST_GROUPS_OF_A_CLASS
    new = refreshing(material.good_parts(), KEPT_GOOD if both else 0, run.row.seed)
    made = []
    if new:
        images = [item for item in material.items if material.is_taught(item) or item.part_key in new]
        base = remembered(base, images, material, recipe, models, run)
        material = replace(material, known=material.known | {item.sha256 for item in images})
        made.append(f"memory of {len(images)} good images, {len(new)} newly decided parts among them")
    known = frozenset(item.sha256 for item in material.items if material.is_taught(item))
    if not both:
        if not new:
            raise TrainingRefused(
                f"{len(material.good_parts())} good and {len(material.bad_parts())} defective parts are new; a memory "
                f"needs a good part, a head at least {LEAST_GROUPS_OF_A_CLASS} of each kind"
            )
        return Retrained(base, "; ".join(made), known)
    detector = with_head(base, material, run)
    heard = "heard" if detector.learned.fusion.hears_labels else "not heard: it does not know better"
    made.append(f"head from {len(material.items)} images, {heard}")
    return Retrained(detector, "; ".join(made), known)


def refreshing(good_parts: Sequence[str], kept: int, seed: int) -> frozenset[str]:
    """Those whose images the memory takes in; the others stay unknown to it."""
    order = sorted(good_parts)
    Random(seed).shuffle(order)
    return frozenset(order[kept:])


def remembered(
    base: Detector,
    items: Sequence[SnapshotItem],
    material: Material,
    recipe: Mapping[str, Any],
    models: Path,
    run: Run,
) -> Detector:
    """The one-class detector taught anew; its thresholds come from parts among these that it holds out."""
    groups, seed = [item.part_key for item in items], run.row.seed

    def progress(done: int) -> None:
        run.progress(done, len(items), f"memory: {done} of {len(items)} good images")

    if isinstance(base, PatchCore) and base.eye.look is not None:
        looking = Looking(base, material, run.cache, run.plan.device)
        features = (told(looking.features(item), number, progress) for number, item in enumerate(items))
        return patchcore_teaching.teach_features(
            list(features), groups=groups, configuration=base.configuration, seed=seed
        )
    images = (material.image(item) for item in items)
    if isinstance(base, PatchCore):
        return patchcore_teaching.teach(
            images, groups=groups, configuration=base.configuration, seed=seed, progress=progress
        )
    if isinstance(base, AnomalyCLIPDetector):
        choices = {key: recipe[key] for key in ("dpam_layer", "features_list") if recipe[key] is not None}
        return anomalyclip_teaching.teach(
            images,
            anomalyclip_teaching.Source(models, recipe["clip"], recipe["prompts"], choices),
            image_size=recipe["image_size"],
            target_false_reject_rate=recipe["target_false_reject_rate"],
            review_share=recipe["review_share"],
            seed=seed,
            groups=groups,
            progress=progress,
        )
    raise TrainingRefused(f"detector {base.name} has no memory that could be refreshed")


def told(features: FrameFeatures, number: int, progress: Callable[[int], None]) -> FrameFeatures:
    progress(number)
    return features


def with_head(base: Detector, material: Material, run: Run) -> SupervisedDetector:
    """A head that learned from every labelled image, those the memory knows among them; from kept features."""
    looking = Looking(base, material, run.cache, run.plan.device)
    frames, scores = [], []
    for number, item in enumerate(material.items):
        run.progress(number, len(material.items), f"features of {number} of {len(material.items)} images")
        frame, score = looking.lesson(item)
        frames.append(frame)
        scores.append(score)
    run.note(detail=f"head from {len(frames)} images")
    return refit(
        base,
        frames,
        np.array(scores),
        groups=material.groups,
        configuration=looking.configuration,
        seed=run.row.seed,
    )

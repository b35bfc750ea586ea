"""A one-class detector's memory of good parts made anew, from what was kept of their images where that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from storage.errors import TrainingRefused
from storage.snapshot_models import SnapshotItem
from workers.detectors import anomalyclip_teaching, patchcore_teaching
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.detector import Detector
from workers.detectors.patchcore import PatchCore
from workers.detectors.read_when_asked import ReadWhenAsked
from workers.detectors.telling import Told
from workers.retrain.looking import Looking
from workers.retrain.own_look import clip_look, eye_look

Progress = Callable[[int], None]
"""Is told how many of the images were read."""
One = TypeVar("One")


def remembered(
    looking: Looking,
    items: Sequence[SnapshotItem],
    *,
    target_false_reject_rate: float,
    review_share: float,
    seed: int,
    progress: Progress,
    told: Told,
) -> Detector:
    """Of these images; TrainingRefused where the detector has no memory."""
    base = looking.base
    if isinstance(base, PatchCore):
        return of_patchcore(base, looking, items, seed, progress, told)
    if isinstance(base, AnomalyCLIPDetector):
        own = clip_look(base)
        read = counting(lambda item: looking.seen_by(own, item), progress)
        return anomalyclip_teaching.remember_features(
            base,
            ReadWhenAsked(items, read),
            target_false_reject_rate=target_false_reject_rate,
            review_share=review_share,
            seed=seed,
            groups=[item.part_key for item in items],
        )
    raise TrainingRefused(f"detector {base.name} has no memory that could be refreshed")


def of_patchcore(
    base: PatchCore, looking: Looking, items: Sequence[SnapshotItem], seed: int, progress: Progress, told: Told
) -> PatchCore:
    groups = [item.part_key for item in items]
    if base.eye.look is not None:
        frames = list(map(counting(looking.features, progress), items))
        return patchcore_teaching.teach_features(
            frames, groups=groups, configuration=base.configuration, seed=seed, told=told
        )
    own = eye_look(base.eye)
    tiles = map(counting(lambda item: looking.seen_by(own, item), progress), items)
    return patchcore_teaching.teach_seen(base, tiles, groups=groups, seed=seed, told=told)


def counting(read: Callable[[SnapshotItem], One], progress: Progress) -> Callable[[SnapshotItem], One]:
    """The same, telling how many were read."""
    done = 0

    def one(item: SnapshotItem) -> One:
        nonlocal done
        found = read(item)
        done += 1
        progress(done)
        return found

    return one

"""Looking at frames once: the backbone's features and the one-class score of each, kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage.errors import InspectionFailed, TrainingRefused
from storage.images import Image
from storage.snapshot_models import SnapshotItem
from workers.datasets.disturbance import drawn
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.calibration import score_of
from workers.detectors.detector import Detector, Prediction
from workers.detectors.frame_features import FrameFeatures, Half, Looker
from workers.detectors.head_features import mirrored_cells
from workers.detectors.labelled import Seen, coverage
from workers.detectors.patchcore import PatchCore
from workers.detectors.supervised import looker_for, shares_look
from workers.detectors.supervised_training import beneath, mirrored_ways
from workers.retrain.feature_cache import Arrays, FeatureCache
from workers.retrain.material import Material
from workers.retrain.own_look import OwnLook, own_look

Own = TypeVar("Own")


class Looking:
    """What a head on this one-class detector learns from; only what is not in the cache is decoded and looked at."""

    def __init__(self, base: Detector, material: Material, cache: FeatureCache, device: str) -> None:
        self.base, self.material, self.cache, self.device = base, material, cache, device
        self.configuration = beneath(base)
        self.look = self.configuration.look
        self.new: set[str] = set()  # SHA-256 of images that were not in the cache, as a whole or in part
        self.mirrors = mirrored_ways(len(material.items), copies=1) > 0
        self.opened: tuple[str, Image] | None = None

    @cached_property
    def own(self) -> OwnLook[Any] | None:
        return None if shares_look(self.base, self.look) else own_look(self.base)

    @cached_property
    def scores(self) -> str:
        """Which scores these are, for the cache. Weights alone do not tell: another calibration is another scale."""
        own = self.own.key if self.own else ""
        how = sha256(f"{own} {self.base.calibration}".encode()).hexdigest()[:16]
        return f"score-{self.base.version}-{how}"

    @cached_property
    def looker(self) -> Looker:
        return looker_for(self.base, self.look, self.device)

    def features(self, item: SnapshotItem) -> FrameFeatures:
        return self.looked_at(item, self.look.key, lambda image: image)

    def disturbed(self, item: SnapshotItem) -> FrameFeatures:
        """Of the image with a disturbance that its SHA-256 draws."""
        return self.looked_at(item, f"{self.look.key}-disturbed", lambda image: drawn(image, int(item.sha256[:8], 16)))

    def mirrored(self, item: SnapshotItem) -> Half:
        kept = self.kept(item, f"{self.look.key}-mirrored", lambda image: {"cells": mirrored_cells(image, self.looker)})
        return np.asarray(kept["cells"], np.float16)

    def looked_at(self, item: SnapshotItem, key: str, change: Callable[[Image], Image]) -> FrameFeatures:
        return FrameFeatures(**self.kept(item, key, lambda image: self.looker.features(change(image))._asdict()))

    def seen_by(self, own: OwnLook[Own], item: SnapshotItem) -> Own:
        """What the one-class detector sees of the frame: as it was kept, the first time too."""
        return own.read(self.kept(item, own.key, own.look))

    def kept(self, item: SnapshotItem, key: str, look: Callable[[Image], Arrays]) -> Arrays:
        if kept := self.cache.get(key, item.sha256):
            return kept
        with refusing(item):
            made = look(self.image(item))
        self.new.add(item.sha256)
        self.cache.put(key, item.sha256, made)
        return made

    def image(self, item: SnapshotItem) -> Image:
        """Decoded once for all looks at it."""
        if self.opened is None or self.opened[0] != item.sha256:
            self.opened = item.sha256, self.material.image(item)
        return self.opened[1]

    def score(self, item: SnapshotItem, features: FrameFeatures) -> float:
        """What the one-class detector says of the frame; of one it was taught from that is nothing."""
        return 0.0 if self.material.is_taught(item) else self.said(item, features)

    def said(self, item: SnapshotItem, features: FrameFeatures) -> float:
        if kept := self.cache.get(self.scores, item.sha256):
            return float(kept["score"][0])
        with refusing(item):
            said = self.judged(item, features).anomaly_score
        self.cache.put(self.scores, item.sha256, {"score": np.array([said])})
        return said

    def judged(self, item: SnapshotItem, features: FrameFeatures) -> Prediction:
        """By the one-class detector, of what was kept where it can; InspectionFailed when there is no score."""
        if shares_look(self.base, self.look):
            return self.base.score_features([features.unpacked()])
        if isinstance(self.base, PatchCore | AnomalyCLIPDetector) and self.own is not None:
            return self.base.score_features(self.seen_by(self.own, item))
        (answer,) = self.base.predict([self.image(item)])
        if isinstance(answer, InspectionFailed):
            raise answer
        return answer

    def seen(self, item: SnapshotItem) -> Seen:
        """The frame as a head learns from it."""
        features = self.features(item)
        mask = self.material.mask(item)
        covered = None if mask is None else coverage(mask, features.s16.shape[-1])
        is_taught = self.material.is_taught(item)
        mirrored = self.mirrored(item) if self.mirrors else None
        return Seen(features, item.is_anomaly, covered, is_taught, self.disturbed(item), mirrored)

    def lesson(self, item: SnapshotItem) -> tuple[Seen, float]:
        """The same, and the one-class score."""
        seen = self.seen(item)
        return seen, self.score(item, seen.features)

    def all_of(self, item: SnapshotItem) -> None:
        """Whatever a run may want of the frame is kept from now on."""
        self.lesson(item)
        if self.own is not None:
            self.seen_by(self.own, item)

    def judged_by_memory(self, items: Iterable[SnapshotItem]) -> tuple[list[Seen], NDArray[np.float64]]:
        """The frames, each with a score that was not learned from it, so that none counts as taught."""
        frames, scores = [], []
        for item in items:
            frame = replace(self.seen(item), is_taught=False)
            raw = self.material.raw_scores.get(item.sha256)
            frames.append(frame)
            scores.append(self.said(item, frame.features) if raw is None else score_of(self.base.calibration, raw))
        return frames, np.array(scores)


@contextmanager
def refusing(item: SnapshotItem) -> Iterator[None]:
    """Of an image that cannot be looked at nothing is learned: the run says which it is."""
    try:
        yield
    except InspectionFailed as error:
        raise TrainingRefused(f"image {item.sha256}: {error}") from error

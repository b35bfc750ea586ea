"""Looking at frames once: the backbone's features and the one-class score of each, kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from storage.errors import InspectionFailed, TrainingRefused
from storage.images import Image
from storage.snapshot_models import SnapshotItem
from workers.datasets.disturbance import drawn
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.calibration import score_of
from workers.detectors.detector import Detector, Prediction
from workers.detectors.frame_features import STRIDES, FrameFeatures, Half, Looker
from workers.detectors.head_features import mirrored_cells, stacked
from workers.detectors.labelled import Decided, Seen, coverage
from workers.detectors.patchcore import PatchCore
from workers.detectors.representation import Representation
from workers.detectors.represented import (
    FrameLessons,
    Represented,
    Row,
    assembled,
    frame_lessons,
    mirrored_rows,
    mirrored_ways,
    represented_anew,
)
from workers.detectors.summariser import fold_of
from workers.detectors.supervised import looker_for, shares_look
from workers.detectors.supervised_training import beneath
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
        self.new: set[str] = set()  # SHA-256 of images of which something was not in the cache
        self.mirrors = mirrored_ways(len(material.items), copies=1) > 0
        self.opened: tuple[str, Image] | None = None

    @property
    def looked(self) -> int:
        """How many images were looked at: each counts once."""
        return len(self.new)

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

    def score(self, item: SnapshotItem) -> float:
        """What the one-class detector says of the frame; of one it was taught from that is nothing."""
        return 0.0 if self.material.is_taught(item) else self.said(item)

    def score_by_memory(self, item: SnapshotItem) -> float:
        """A score that was not learned from the frame, of one that the memory knows, too."""
        raw = self.material.raw_scores.get(item.sha256)
        return self.said(item) if raw is None else score_of(self.base.calibration, raw)

    def said(self, item: SnapshotItem) -> float:
        if kept := self.cache.get(self.scores, item.sha256):
            return float(kept["score"][0])
        with refusing(item):
            said = self.judged(item).anomaly_score
        self.cache.put(self.scores, item.sha256, {"score": np.array([said])})
        return said

    def judged(self, item: SnapshotItem) -> Prediction:
        """By the one-class detector, of what was kept where it can; InspectionFailed when there is no score."""
        if shares_look(self.base, self.look):
            return self.base.score_features([self.features(item).unpacked()])
        if isinstance(self.base, PatchCore | AnomalyCLIPDetector) and self.own is not None:
            return self.base.score_features(self.seen_by(self.own, item))
        (answer,) = self.base.predict([self.image(item)])
        if isinstance(answer, InspectionFailed):
            raise answer
        return answer

    def decision(self, item: SnapshotItem) -> Decided:
        return Decided(item.is_anomaly, self.covered(item), self.material.is_taught(item))

    def covered(self, item: SnapshotItem) -> NDArray[np.float32] | None:
        """How much of each patch is defective, where a person has drawn that."""
        if not item.is_anomaly or not item.regions:
            return None
        side = self.look.image_size // STRIDES[1]
        drawn = sha256(json.dumps([side, item.width, item.height, item.regions], sort_keys=True).encode())
        look = f"coverage-{drawn.hexdigest()[:16]}"
        if not (kept := self.cache.get(look, item.sha256)):
            mask = self.material.mask(item)
            kept = {"coverage": np.empty((0, 0), np.float32) if mask is None else coverage(mask, side)}
            self.cache.put(look, item.sha256, kept)
        return kept["coverage"] if kept["coverage"].size else None

    def seen(self, item: SnapshotItem) -> Seen:
        """The frame as everything is learned anew from it."""
        known = self.decision(item)
        mirrored = self.mirrored(item) if self.mirrors else None
        return Seen(
            self.features(item), known.is_anomaly, known.coverage, known.is_taught, self.disturbed(item), mirrored
        )

    def lessons(self, item: SnapshotItem, representation: Representation) -> FrameLessons:
        """The frame as head and machine learn from it while the representation is kept."""
        look = self.lessons_look(item, representation)
        if kept := self.cache.get(look, item.sha256):
            return FrameLessons.of_arrays(kept)
        made = frame_lessons(self.features(item), self.disturbed(item), item.part_key, representation)
        self.cache.put(look, item.sha256, made.arrays())
        return made

    def lessons_look(self, item: SnapshotItem, representation: Representation) -> str:
        return f"{self.look.key}-{representation.key}-{fold_of(item.part_key)}"

    def mirrored_rows(self, item: SnapshotItem, representation: Representation) -> Row:
        """(ways, numbers)."""
        look = f"{self.look.key}-{representation.key}-mirrored"
        if kept := self.cache.get(look, item.sha256):
            return np.asarray(kept["rows"], np.float32)
        made = mirrored_rows(self.mirrored(item), representation)
        self.cache.put(look, item.sha256, {"rows": made})
        return made

    def look_at(self, item: SnapshotItem, representation: Representation | None) -> None:
        """All that may be asked of the frame is kept then: a tail, or a memory taught anew, asks for its features."""
        self.covered(item)
        for look, read in ((self.look.key, self.features), (f"{self.look.key}-disturbed", self.disturbed)):
            if not self.cache.holds(look, item.sha256):
                read(item)
        if self.mirrors:
            self.mirrored(item)
        if representation is not None:
            self.keep_lessons(item, representation)
        if self.own is not None:
            self.seen_by(self.own, item)
        self.score(item)

    def keep_lessons(self, item: SnapshotItem, representation: Representation) -> None:
        if not self.cache.holds(self.lessons_look(item, representation), item.sha256):
            self.lessons(item, representation)
        if self.mirrors:
            self.mirrored_rows(item, representation)

    def represented(self, items: Iterable[SnapshotItem], representation: Representation | None) -> Represented:
        """items: the material's. Without a representation, one is learned from them."""
        if representation is None:
            return represented_anew([self.seen(item) for item in items], self.material.groups, self.look)
        kept, mirrors = [], []
        for item in items:
            kept.append(self.lessons(item, representation))
            if self.mirrors:
                mirrors.append(self.mirrored_rows(item, representation))
        return assembled(representation, self.decided, kept, mirrors, self.activations)

    def activations(self) -> list[Tensor]:
        looks = self.features, self.disturbed
        return [stacked([look(item).s16 for item in self.material.items]) for look in looks]

    @cached_property
    def decided(self) -> list[Decided]:
        """What people said of the material's images."""
        return [self.decision(item) for item in self.material.items]


@contextmanager
def refusing(item: SnapshotItem) -> Iterator[None]:
    """Of an image that cannot be looked at nothing is learned: the run says which it is."""
    try:
        yield
    except InspectionFailed as error:
        raise TrainingRefused(f"image {item.sha256}: {error}") from error

"""PatchCore taught from known-good images: a bank of patches, with a Gaussian beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from storage.code_version import code_version
from storage.errors import InspectionFailed, ModelError, ScoreInvalid
from workers.detectors import artefact
from workers.detectors.artefact import Artefact
from workers.detectors.backbone import Backbone, LiteBackbone, restored_backbone
from workers.detectors.calibration import anomaly_score, score_of
from workers.detectors.detector import Calibration, Configuration, Image, Prediction
from workers.detectors.efficientnet_lite import EfficientNetLite, checked
from workers.detectors.frame_features import Look
from workers.detectors.frame_scorer import FrameScorer, PatchDistances
from workers.detectors.patches import Patches
from workers.detectors.tiles import WHOLE, Tiles

NG_THRESHOLD = 0.5


@dataclass(frozen=True)
class PatchCoreConfiguration:
    """What decides how a PatchCore is taught and scores."""

    image_size: int = 256
    tiles: str = "1x1"
    local_contrast: bool = True
    target_false_reject_rate: float = 0.05
    review_share: float = 0.05
    folds: int = 8  # parts are held out by turns: that each is calibrated on and all are learned from
    bank_size: int = 2000
    worst_share: float = 0.016  # of a tile's patches: their mean decides
    gaussian_weight: float = 1.6

    def worst(self, grid: int) -> int:
        """How many patches decide. Not more in a frame of many tiles: a small defect is as bad in a large frame."""
        return max(1, int(self.worst_share * grid**2))


class PatchCore:
    """A bank of known-good patches and their Gaussian. Each image is scored alone: batches do not change a score."""

    name = "patchcore"

    def __init__(
        self,
        configuration: PatchCoreConfiguration,
        tensors: dict[str, Tensor],
        calibration: Calibration,
        created_at: str,
        eye: Eye,
    ) -> None:
        self.configuration, self.calibration, self.created_at = configuration, calibration, created_at
        self.eye, self.tensors = eye, tensors
        self.image_size = eye.tiles.minimum_side(configuration.image_size)
        device = eye.backbone.device
        self.distances = PatchDistances(eye.tiles, {name: tensor.to(device) for name, tensor in tensors.items()})
        self.scorer = FrameScorer(configuration.gaussian_weight, configuration.worst(eye.grid), tensors)
        self.version = artefact.weights_sha256(tensors)[:12]

    @property
    def ng_threshold(self) -> float:
        return NG_THRESHOLD

    @property
    def ok_threshold(self) -> float:
        return score_of(self.calibration, self.calibration.raw_ok_threshold)

    def predict(self, images: Sequence[Image]) -> list[Prediction | InspectionFailed]:
        return [self.answer(image) for image in images]

    def answer(self, image: Image) -> Prediction | InspectionFailed:
        """An image that cannot be scored is that part's failure alone."""
        try:
            return self.score(image)
        except InspectionFailed as error:
            return error

    def score(self, image: Image) -> Prediction:
        return self.score_features(self.eye.features(image))

    def score_features(self, features: Sequence[Any]) -> Prediction:
        """Of a frame's tiles, row by row: for who has run the backbone already."""
        tiles = [self.eye.backbone.patches_of(tile) for tile in features]
        raw, raw_map = self.scorer.judge(self.distances.of(tiles))
        if not (np.isfinite(raw) and np.isfinite(raw_map).all()):
            raise ScoreInvalid(f"{self.name} {self.version} gave a raw score that is not a number: {raw}")
        return Prediction(
            anomaly_score=score_of(self.calibration, raw),
            raw_score=raw,
            anomaly_map=anomaly_score(self.calibration, raw_map).astype(np.float32),
            embedding=np.mean([tile.embedding.cpu().numpy() for tile in tiles], axis=0),
        )

    def save(self, folder: Path) -> str:
        return artefact.write(
            Artefact(
                detector=self.name,
                configuration=asdict(self.configuration),
                preprocessing=self.eye.backbone.preprocessing(),
                backbone=self.eye.backbone.facts(),
                calibration=self.calibration,
                thresholds={"ok": self.ok_threshold, "ng": self.ng_threshold},
                code_version=code_version(),
                created_at=self.created_at,
                tensors=self.tensors,
                shared=self.eye.backbone.shared(),
            ),
            folder,
        )

    @classmethod
    def restore(cls, saved: Artefact, device: str = "cpu") -> PatchCore:
        """The detector that was saved: the same scores to the last bit on the same machine."""
        configuration = configuration_of(saved.configuration)
        backbone = restored_backbone(saved, configuration.image_size, configuration.local_contrast, device)
        eye = Eye(configuration, backbone)
        return cls(configuration, dict(saved.tensors), saved.calibration, saved.created_at, eye)


class Eye:
    """How a PatchCore looks at a frame: its tiles, each as patches; the same while it is taught and when it serves."""

    def __init__(self, configuration: PatchCoreConfiguration, backbone: Backbone | None = None) -> None:
        """backbone: EfficientNet-Lite0 where none is given."""
        self.tiles = Tiles.parse(configuration.tiles)
        size, contrast = configuration.image_size, configuration.local_contrast
        self.backbone: Backbone = backbone or LiteBackbone(size, contrast=contrast)
        self.grid = self.backbone.grid

    @property
    def look(self) -> Look | None:
        """At the whole frame with EfficientNet-Lite0; None when it is cut into tiles, or a CLIP looks at it."""
        if self.tiles != Tiles.parse(WHOLE) or not isinstance(self.backbone, LiteBackbone):
            return None
        return Look(self.backbone.image_size, self.backbone.network.contrast)

    @property
    def network(self) -> EfficientNetLite | None:
        return self.backbone.network if isinstance(self.backbone, LiteBackbone) else None

    def features(self, image: Image) -> list[Any]:
        """What the backbone says of each tile, row by row."""
        return [self.backbone.features(tile) for tile in self.tiles.cut(checked(image), self.grid)]

    def patches(self, image: Image) -> list[Patches]:
        """Of each tile, row by row."""
        return [self.backbone.patches_of(tile) for tile in self.features(image)]


def configuration_of(saved: Configuration) -> PatchCoreConfiguration:
    """ModelError for a model of another version of this detector: it would be scored wrongly without a word."""
    different = set(saved) ^ {field.name for field in fields(PatchCoreConfiguration)}
    if different:
        names = ", ".join(sorted(different))
        raise ModelError(f"the model was taught by another version of adline ({names} differ); teach it anew")
    return PatchCoreConfiguration(**saved)

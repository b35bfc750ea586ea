"""What PatchCore sees an image with: EfficientNet-Lite0, which comes with adline, or the visual tower of any CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from storage.errors import ModelError
from workers.detectors.artefact import Artefact
from workers.detectors.clip_tower import CLIP_FILE, ClipTower, TowerFacts
from workers.detectors.detector import Image
from workers.detectors.efficientnet_lite import PREPROCESSING, WEIGHTS_SHA256, EfficientNetLite, Features
from workers.detectors.frame_features import Look
from workers.detectors.patches import Patches, patches_of
from workers.detectors.weight_files import load_float
from workers.detectors.weight_folder import find_clip

PATCH = 16  # pixels of EfficientNet-Lite0's


class Backbone(Protocol):
    """Frozen; one image at a time."""

    image_size: int
    grid: int
    """Patches along a side of the square image."""
    device: torch.device

    @property
    def look_key(self) -> str:
        """Which features these are, for a cache: changes with the weights and with the preprocessing."""
        ...

    def features(self, image: Image) -> Any:
        """What the bare network says: what a detector's cost is held against. A sequence of tensors."""
        ...

    def of_tensors(self, tensors: list[Tensor]) -> Any:
        """The same of the tensors that were in it."""
        ...

    def patches_of(self, features: Any) -> Patches:
        """What the bank and the Gaussian see of them."""
        ...

    def facts(self) -> dict[str, Any]:
        """For model.yaml: which weights, and all that is needed to build it again from them."""
        ...

    def preprocessing(self) -> dict[str, Any]: ...

    def shared(self) -> Mapping[str, Path]:
        """Files of weights that a saved model must bring along."""
        ...


@dataclass(frozen=True)
class BackboneSource:
    """A CLIP in a models folder by MODEL:TAG, and its blocks whose patches are looked at, counted from 1."""

    models: Path
    clip: str
    layers: tuple[int, ...] | None = None
    """None: those at half and at three quarters of the depth."""


class LiteBackbone:
    """EfficientNet-Lite0: strides 8, 16 and 32 on the stride-16 grid."""

    def __init__(self, image_size: int, device: str = "cpu", *, contrast: bool) -> None:
        self.image_size, self.grid = image_size, image_size // PATCH
        self.network = EfficientNetLite(image_size, device, contrast=contrast)
        self.device = self.network.device

    @property
    def look_key(self) -> str:
        return Look(self.image_size, self.network.contrast).key

    def features(self, image: Image) -> Features:
        return self.network.features(image)

    def of_tensors(self, tensors: list[Tensor]) -> Features:
        return Features(*tensors)

    def patches_of(self, features: Features) -> Patches:
        return patches_of(features.to(self.device))  # kept ones are on the CPU

    def facts(self) -> dict[str, Any]:
        return {"name": "tf_efficientnet_lite0", "sha256": WEIGHTS_SHA256}

    def preprocessing(self) -> dict[str, Any]:
        return {**PREPROCESSING, "image_size": self.image_size, "local_contrast": self.network.contrast}

    def shared(self) -> Mapping[str, Path]:
        return {}


def backbone_to_teach(image_size: int, contrast: bool, source: BackboneSource | None) -> Backbone:
    """EfficientNet-Lite0 where no source is given; WeightsMissing says which command gets a CLIP's weights."""
    if source is None:
        return LiteBackbone(image_size, contrast=contrast)
    stored = find_clip(source.clip, source.models)
    facts = TowerFacts(stored.name, source.layers, stored.choices)
    return ClipTower(facts, stored.file, stored.load(), image_size, contrast=contrast)


def restored_backbone(saved: Artefact, image_size: int, contrast: bool, device: str) -> Backbone:
    """The one the model was taught with; ModelError when it cannot be had."""
    if "layers" not in saved.backbone:
        if saved.backbone["sha256"] != WEIGHTS_SHA256:
            raise ModelError(f"the model needs backbone {saved.backbone['sha256']}; this version has {WEIGHTS_SHA256}")
        return LiteBackbone(image_size, device, contrast=contrast)
    if CLIP_FILE not in saved.shared:
        raise ModelError(f"the model has no {CLIP_FILE}")
    path = saved.shared[CLIP_FILE]
    return ClipTower(TowerFacts.read(saved.backbone), path, load_float(path), image_size, device, contrast=contrast)

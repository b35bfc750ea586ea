"""The visual tower of a CLIP as PatchCore's backbone: the patch tokens of chosen blocks, up to the last of them.

Letters in shapes as in anomalyclip.py: N patches (a grid of g x g), W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from storage.errors import ModelError, ModelShapeWrong
from storage.model_files import file_sha256
from workers.detectors.anomalyclip import AnomalyCLIPConfig, VisualTower, Weights, check_numbers
from workers.detectors.detector import Image
from workers.detectors.efficientnet_lite import PREPROCESSING, preprocess
from workers.detectors.patches import Patches, rows

CLIP_FILE = "clip.safetensors"
SURROUNDINGS = 3  # patches along a side: a token has seen the whole image already
VISUAL = "visual."


@dataclass(frozen=True)
class TowerFacts:
    """Which CLIP, which of its blocks, and what its weights' shapes do not tell."""

    name: str
    layers: tuple[int, ...] | None
    choices: Mapping[str, Any]

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Self:
        """What `ClipTower.facts` wrote."""
        try:
            return cls(described["name"], tuple(described["layers"]), dict(described["choices"]))
        except (KeyError, TypeError) as error:
            raise ModelError(f"the backbone is not one this version knows: {error}") from error


class ClipTower:
    """Meets `Backbone`; its side in pixels is the number of whole patches nearest to what was asked for."""

    def __init__(
        self,
        facts: TowerFacts,
        file: Path,
        weights: Weights,
        image_size: int,
        device: str = "cpu",
        *,
        contrast: bool,
    ) -> None:
        whole = configuration(facts, weights, image_size)
        self.config = replace(whole, vision_layers=whole.features_list[-1])  # what no one looks at is not computed
        self.name, self.choices, self.file, self.contrast = facts.name, dict(facts.choices), file, contrast
        self.image_size, self.grid, self.device = whole.image_size, whole.grid, torch.device(device)
        self.tower = build(self.config, weights).to(self.device)
        self.mean, self.std = (
            torch.tensor(values, device=self.device)[:, None, None] for values in (whole.mean, whole.std)
        )

    @cached_property
    def look_key(self) -> str:
        """Asks for the file's SHA-256 once: it is hundreds of megabytes."""
        said = f"{self.facts()} {self.preprocessing()} {file_sha256(self.file)}"
        return sha256(said.encode()).hexdigest()[:16]

    def features(self, image: Image) -> list[Tensor]:
        """The patch tokens of each chosen block, (N, W), each token of mean 0 and deviation 1.

        A few channels of a CLIP are hundreds of times as large as the others, and by how much varies between tokens.
        """
        pixels = torch.from_numpy(preprocess(image, self.image_size, self.contrast)).to(self.device)  # (S, S, 3)
        shares = (pixels.permute(2, 0, 1) * 128 + 127) / 255  # (3, S, S) in [0, 1]: as before the other normalisation
        with torch.inference_mode():
            _, taps = self.tower(((shares - self.mean) / self.std)[None])
            return [F.layer_norm(tap[0, 1:], tap.shape[2:]) for tap in taps]

    def of_tensors(self, tensors: list[Tensor]) -> list[Tensor]:
        return tensors

    def patches_of(self, features: list[Tensor]) -> Patches:
        """All blocks for the bank, the last with its surroundings for the Gaussian."""
        features = [block.to(self.device) for block in features]  # kept ones are on the CPU
        last = features[-1]
        square = last.T.reshape(1, -1, self.grid, self.grid)  # (1, W, g, g)
        around = F.avg_pool2d(square, SURROUNDINGS, 1, SURROUNDINGS // 2, count_include_pad=False)
        return Patches(torch.cat(features, dim=1), rows(around), last.mean(0))

    def facts(self) -> dict[str, Any]:
        return {"name": self.name, "layers": list(self.config.features_list), "choices": self.choices}

    def preprocessing(self) -> dict[str, Any]:
        return {
            **PREPROCESSING,
            "normalisation": "(value / full scale - mean) / std",
            "mean": list(self.config.mean),
            "std": list(self.config.std),
            "image_size": self.image_size,
            "local_contrast": self.contrast,
        }

    def shared(self) -> Mapping[str, Path]:
        return {CLIP_FILE: self.file}


def configuration(facts: TowerFacts, weights: Weights, image_size: int) -> AnomalyCLIPConfig:
    """Of the tower as a plain one, without a V-V path; SettingsError when it has no such blocks."""
    plain = AnomalyCLIPConfig.for_clip(weights, **facts.choices, dpam_layer=1)
    layers = facts.layers or tuple(sorted({max(1, plain.vision_layers * quarters // 4) for quarters in (2, 3)}))
    side = max(1, round(image_size / plain.patch_size)) * plain.patch_size
    return replace(plain, features_list=layers, image_size=side)


def build(config: AnomalyCLIPConfig, weights: Weights) -> VisualTower:
    """The tower on these weights; those of later blocks and of the text side are left out."""
    with torch.device("meta"):
        tower = VisualTower(config)
    found = {name: weights[VISUAL + name] for name in tower.state_dict() if VISUAL + name in weights}
    check_numbers(found)
    try:
        tower.load_state_dict(found, assign=True)
    except RuntimeError as error:
        raise ModelShapeWrong([f"not the visual tower that its shapes tell of: {error}"]) from error
    return tower.eval().requires_grad_(False)

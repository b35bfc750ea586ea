"""The weights of a plant in its models folder: found by name, checked when they are loaded.

Torch is not imported here: the line asks before it starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from storage.errors import ModelAltered, ModelConfigurationWrong, WeightsMissing
from storage.model_files import file_sha256
from workers.detectors.clip_name import ClipName, spelled

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE, DESCRIPTION_FILE = "weights.safetensors", "weights.yaml"
LITE = "efficientnet-lite0"
"""The backbone whose weights come with adline."""


class WeightKind(StrEnum):
    """What a file of weights holds."""

    CLIP = "clip"
    PROMPTS = "prompts"


@dataclass(frozen=True)
class StoredWeights:
    """Weights in the models folder."""

    kind: WeightKind
    name: str
    file: Path
    sha256: str
    choices: dict[str, Any]
    """CLIP: the settings of AnomalyCLIPConfig that the shapes do not tell. Prompts: their lengths and depth, and
    the settings they were learned with where those are known."""

    def load(self) -> dict[str, Tensor]:
        """The tensors in float32 (ids stay whole numbers), after checking the file's SHA-256."""
        from workers.detectors.weight_files import load_float

        found = file_sha256(self.file)
        if found != self.sha256:
            raise ModelAltered(self.file, self.sha256, found)
        return load_float(self.file)


def find_clip(name: str, models_folder: Path) -> StoredWeights:
    """CLIP weights in the models folder, by MODEL:TAG."""
    clip = spelled(name)
    how = f"get them with `adline model pull {clip}`; {offline_instruction(clip)}"
    return _find(WeightKind.CLIP, str(clip), models_folder, how)


def find_prompts(name: str, models_folder: Path) -> StoredWeights:
    """Learned prompts in the models folder."""
    how = (
        f"import them with `adline model import FILE --name {name}`: a published epoch_N.pth, or what a training wrote"
    )
    return _find(WeightKind.PROMPTS, name, models_folder, how)


def offline_instruction(clip: ClipName) -> str:
    """How weights get to a plant without a network."""
    return (
        f"without a network here: run `adline model pull {clip}` on a machine that has one and copy its models folder, "
        f"or fetch the file there, carry it over and run `adline model import FILE --name {clip}`"
    )


def _find(kind: WeightKind, name: str, models_folder: Path, how: str) -> StoredWeights:
    folder = folder_of(kind, name, models_folder)
    file = folder / WEIGHTS_FILE
    try:
        description = yaml.safe_load((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsMissing(f"{name}: there are no such {kind} weights in {models_folder}; {how}") from error
    if not file.is_file():
        raise WeightsMissing(f"{name}: {file} is gone; {how}")
    return StoredWeights(kind, name, file, description["sha256"], description["choices"])


def folder_of(kind: WeightKind, name: str, models_folder: Path) -> Path:
    """Where weights of this name are kept."""
    safe = name.replace(":", ".")
    if not safe or safe.startswith(".") or "/" in safe or "\\" in safe:
        raise ModelConfigurationWrong(f"{name}: not a name for weights; allowed letters, digits, '_', '-', '.' and ':'")
    return models_folder / kind.value / safe

"""Weights in files: OpenAI's archives, open_clip's safetensors, AnomalyCLIP's checkpoints, what our training wrote."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from storage.errors import WeightsUnreadable
from workers.detectors.weight_folder import WeightKind

OURS = "prompts."
"""Before the names of the prompts in a model of ours."""


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file.

    from_openai: an archive that only OpenAI made, so its activation is known. from_training: prompts of our own.
    """

    kind: WeightKind
    weights: dict[str, Tensor]
    from_openai: bool = False
    from_training: bool = False


def read(path: Path) -> WeightFile:
    """Read a file by what is in it, not by its name. No pickle is ever loaded unless weights_only."""
    if not path.is_file():
        raise WeightsUnreadable(f"{path}: there is no such file")
    if _is_torchscript(path):
        return WeightFile(WeightKind.CLIP, _read_torchscript(path), from_openai=True)
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    ours = {key.removeprefix(OURS): value for key, value in content.items() if key.startswith(OURS)}
    prompts = ours or content.get("prompt_learner", content)
    if isinstance(prompts, Mapping) and "ctx_pos" in prompts:
        return WeightFile(WeightKind.PROMPTS, _tensors(path, prompts), from_training=bool(ours))
    state = content.get("state_dict", content)
    weights = _tensors(path, state if isinstance(state, Mapping) else {})
    weights = {key.removeprefix("module."): tensor for key, tensor in weights.items()}
    if "visual.conv1.weight" not in weights or "visual.layer1.0.conv1.weight" in weights:
        raise WeightsUnreadable(
            f"{path}: given a file with {_first_keys(weights)}; allowed: a CLIP vision transformer (OpenAI's .pt, "
            "open_clip's safetensors or .bin), AnomalyCLIP's epoch_N.pth, or the weights.safetensors that a training "
            "of prompts wrote"
        )
    # OpenAI's state dicts carry these three beside the weights, open_clip's do not.
    return WeightFile(WeightKind.CLIP, weights, from_openai="input_resolution" in weights)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        # OpenAI publishes in this format; that torch has deprecated it is nothing an operator can act on.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        try:
            module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]  # torch has no types here
        except RuntimeError as error:
            raise WeightsUnreadable(f"{path}: the TorchScript archive is damaged: {error}") from error
        return _tensors(path, module.state_dict())


def _read_safetensors(path: Path) -> Mapping[str, object]:
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise WeightsUnreadable(f"{path}: the safetensors file is damaged: {error}") from error


def _read_pickle(path: Path) -> Mapping[str, object]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler lets a dozen kinds through; each means that these are no weights
        raise WeightsUnreadable(f"{path}: not weights, or damaged; nothing in it was run: {error}") from error
    if not isinstance(content, Mapping):
        raise WeightsUnreadable(f"{path}: given a {type(content).__name__}; allowed: named weights")
    return content


def _tensors(path: Path, state: Mapping[str, object]) -> dict[str, Tensor]:
    tensors = {key: value.detach().contiguous() for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsUnreadable(f"{path}: holds no named weights")
    return tensors


def _first_keys(weights: Mapping[str, Tensor]) -> str:
    return ", ".join(sorted(weights)[:3]) + ", ..."


def load_float(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file in float32; ids stay whole numbers.

    Copied, because where a tensor lies in the file decides its alignment, and that the last bit of a product.
    """
    tensors = safetensors.torch.load_file(file)
    return {
        key: tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }

"""A model on disk: weights.safetensors and model.yaml, known by one SHA-256. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import yaml
from torch import Tensor

from storage.errors import ModelAltered, ModelError, ModelMissing
from workers.detectors.detector import Calibration, Configuration

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.yaml"
FORMAT = 1


@dataclass(frozen=True)
class Artefact:
    """All a detector needs to be itself again, bit for bit."""

    detector: str
    configuration: Configuration
    preprocessing: dict[str, Any]
    backbone: dict[str, str]
    calibration: Calibration
    thresholds: dict[str, float]
    code_version: str
    created_at: str
    tensors: Mapping[str, Tensor]


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Which weights these are, on disk or not."""
    return sha256(serialised(tensors)).hexdigest()


def serialised(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


def write(artefact: Artefact, folder: Path) -> str:
    """Write both files; return the artefact's SHA-256."""
    weights = serialised(artefact.tensors)
    described = {
        "format": FORMAT,
        "detector": artefact.detector,
        "created_at": artefact.created_at,
        "code_version": artefact.code_version,
        "files": {WEIGHTS: {"sha256": sha256(weights).hexdigest()}},
        "backbone": artefact.backbone,
        "configuration": artefact.configuration,
        "preprocessing": artefact.preprocessing,
        "thresholds": artefact.thresholds,
        "calibration": plain(artefact.calibration),
    }
    description = yaml.safe_dump(described, sort_keys=False, allow_unicode=True).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).write_bytes(weights)
        (folder / DESCRIPTION).write_bytes(description)
    except OSError as error:
        raise ModelError(f"{folder}: the model cannot be written: {error.strerror}") from error
    return manifest_sha256({WEIGHTS: weights, DESCRIPTION: description})


def read(folder: Path, expected_sha256: str) -> Artefact:
    """The artefact, from the very bytes whose hash was checked."""
    files = {name: contents(folder / name) for name in (WEIGHTS, DESCRIPTION)}
    if manifest_sha256(files) != expected_sha256:
        raise altered(folder, files, expected_sha256)
    return parsed(folder, files)


def manifest_sha256(files: Mapping[str, bytes]) -> str:
    """The hash of what `sha256sum model.yaml weights.safetensors` prints."""
    lines = (f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    return sha256("".join(lines).encode()).hexdigest()


def altered(folder: Path, files: Mapping[str, bytes], expected_sha256: str) -> ModelAltered:
    """Name the weights when the description, which holds their hash, disowns them; else the description."""
    found = sha256(files[WEIGHTS]).hexdigest()
    wanted = recorded_weights_sha256(files[DESCRIPTION])
    if wanted is not None and wanted != found:
        return ModelAltered(folder / WEIGHTS, wanted, found)
    return ModelAltered(folder / DESCRIPTION, expected_sha256, manifest_sha256(files))


def recorded_weights_sha256(description: bytes) -> str | None:
    try:
        return str(yaml.safe_load(description)["files"][WEIGHTS]["sha256"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        return None


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelMissing(f"{path}: the model's file is not there") from error
    except OSError as error:
        raise ModelError(f"{path}: the model's file cannot be read: {error.strerror}") from error


def parsed(folder: Path, files: Mapping[str, bytes]) -> Artefact:
    try:
        described = yaml.safe_load(files[DESCRIPTION])
        if described["format"] != FORMAT:
            raise ModelError(f"{folder / DESCRIPTION}: format is {described['format']}; this version reads {FORMAT}")
        return Artefact(
            detector=described["detector"],
            configuration=described["configuration"],
            preprocessing=described["preprocessing"],
            backbone=described["backbone"],
            calibration=calibration(described["calibration"]),
            thresholds=described["thresholds"],
            code_version=described["code_version"],
            created_at=described["created_at"],
            tensors=safetensors.torch.load(files[WEIGHTS]),
        )
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelError(f"{folder}: not a model this version knows: {error}") from error


def plain(calibration: Calibration) -> dict[str, Any]:
    """Tuples as lists: YAML's safe subset."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(calibration).items()}


def calibration(described: Mapping[str, Any]) -> Calibration:
    """YAML writes a float so that it reads back as the same float."""
    low, high = described["false_reject_interval"]
    scores, parts = tuple(described["good_raw_scores"]), tuple(described.get("good_parts", ()))
    read = {"good_raw_scores": scores, "good_parts": parts, "false_reject_interval": (low, high)}
    return Calibration(**{**described, **read})

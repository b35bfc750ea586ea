"""A model on disk: weights.safetensors, model.yaml and files it shares, known by one SHA-256; nothing is unpickled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import yaml
from torch import Tensor

from storage.errors import ModelAltered, ModelError, ModelMissing
from storage.model_files import file_sha256
from workers.detectors.detector import Calibration, Configuration

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.yaml"
FORMAT = 1


@dataclass(frozen=True)
class Artefact:
    """All a detector needs to be itself again, bit for bit."""

    detector: str
    configuration: Configuration
    preprocessing: dict[str, Any]
    backbone: dict[str, Any]
    calibration: Calibration
    thresholds: dict[str, float]
    code_version: str
    created_at: str
    tensors: Mapping[str, Tensor]
    shared: Mapping[str, Path] = field(default_factory=dict)
    """Large files that several models have in common, by their name in the folder: a CLIP's weights."""
    training: dict[str, Any] = field(default_factory=dict)


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Which weights these are, on disk or not."""
    return sha256(serialised(tensors)).hexdigest()


def serialised(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


def write(artefact: Artefact, folder: Path) -> str:
    """Write and link all files; return the artefact's SHA-256."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in artefact.shared.items():
            link_or_copy(source, folder / name)
        weights = serialised(artefact.tensors)
        hashes = {WEIGHTS: sha256(weights).hexdigest(), **shared_hashes(folder, artefact.shared)}
        description = described(artefact, hashes)
        (folder / WEIGHTS).write_bytes(weights)
        (folder / DESCRIPTION).write_bytes(description)
    except OSError as error:
        raise ModelError(f"{folder}: the model cannot be written: {error.strerror}") from error
    return manifest_sha256({**hashes, DESCRIPTION: sha256(description).hexdigest()})


def described(artefact: Artefact, hashes: Mapping[str, str]) -> bytes:
    """What model.yaml says."""
    facts = {
        "format": FORMAT,
        "detector": artefact.detector,
        "created_at": artefact.created_at,
        "code_version": artefact.code_version,
        "files": {name: {"sha256": digest} for name, digest in hashes.items()},
        "backbone": artefact.backbone,
        "configuration": artefact.configuration,
        "preprocessing": artefact.preprocessing,
        "thresholds": artefact.thresholds,
        "calibration": plain(artefact.calibration),
        "training": artefact.training,
    }
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).encode()


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no links: a retraining a night does not
    store a gigabyte a night."""
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def read(folder: Path, expected_sha256: str) -> Artefact:
    """The artefact, from the very bytes whose hash was checked; shared files are hashed where they are."""
    files = {name: contents(folder / name) for name in (WEIGHTS, DESCRIPTION)}
    recorded = recorded_hashes(files[DESCRIPTION])
    shared = [name for name in recorded if name != WEIGHTS]
    hashes = {name: sha256(data).hexdigest() for name, data in files.items()} | shared_hashes(folder, shared)
    if manifest_sha256(hashes) != expected_sha256:
        raise altered(folder, hashes, recorded, expected_sha256)
    return parsed(folder, files, shared)


def shared_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in names}


def manifest_sha256(hashes: Mapping[str, str]) -> str:
    """The hash of what `sha256sum *` prints in the model's folder."""
    lines = (f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return sha256("".join(lines).encode()).hexdigest()


def altered(folder: Path, hashes: Mapping[str, str], recorded: Mapping[str, str], expected_sha256: str) -> ModelAltered:
    """Name the file that the description, which holds the others' hashes, disowns; else the description."""
    for name, wanted in recorded.items():
        if wanted != hashes[name]:
            return ModelAltered(folder / name, wanted, hashes[name])
    return ModelAltered(folder / DESCRIPTION, expected_sha256, manifest_sha256(hashes))


def recorded_hashes(description: bytes) -> dict[str, str]:
    """The other files' hashes by name; what is no description has none, and its own hash will tell."""
    try:
        files = yaml.safe_load(description)["files"]
        return {Path(name).name: str(file["sha256"]) for name, file in files.items()}
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        return {}


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelMissing(f"{path}: the model's file is not there") from error
    except OSError as error:
        raise ModelError(f"{path}: the model's file cannot be read: {error.strerror}") from error


def parsed(folder: Path, files: Mapping[str, bytes], shared: Iterable[str]) -> Artefact:
    try:
        facts = yaml.safe_load(files[DESCRIPTION])
        if facts["format"] != FORMAT:
            raise ModelError(f"{folder / DESCRIPTION}: format is {facts['format']}; this version reads {FORMAT}")
        return Artefact(
            detector=facts["detector"],
            configuration=facts["configuration"],
            preprocessing=facts["preprocessing"],
            backbone=facts["backbone"],
            calibration=calibration(facts["calibration"]),
            thresholds=facts["thresholds"],
            code_version=facts["code_version"],
            created_at=facts["created_at"],
            tensors=safetensors.torch.load(files[WEIGHTS]),
            shared={name: folder / name for name in shared},
            training=facts.get("training", {}),
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

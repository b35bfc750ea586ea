"""A detector within another's artefact: one pair of files, one SHA-256, whatever kind the inner one is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from torch import Tensor

from storage.errors import ModelError
from workers.detectors import artefact
from workers.detectors.artefact import Artefact
from workers.detectors.detector import Detector

PREFIX = "base."


class Packed(NamedTuple):
    """What an outer artefact takes in of the inner one."""

    description: dict[str, Any]
    tensors: Mapping[str, Tensor]


def packed(detector: Detector) -> Packed:
    """Through the detector's own save, which alone knows what it needs to be itself again."""
    with TemporaryDirectory() as folder:
        saved = artefact.read(Path(folder), detector.save(Path(folder)))
    description = {name: value for name, value in vars(saved).items() if name != "tensors"}
    description["calibration"] = artefact.plain(saved.calibration)
    return Packed(description, {PREFIX + name: tensor for name, tensor in saved.tensors.items()})


def unpacked(description: Mapping[str, Any], tensors: Mapping[str, Tensor], device: str) -> Detector:
    from workers.detectors import registry  # it names the outer detector too

    inner = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    try:
        calibration = artefact.calibration(description["calibration"])
        saved = Artefact(**{**description, "calibration": calibration, "tensors": inner})
    except (KeyError, TypeError) as error:
        raise ModelError(f"the detector beneath is not one this version knows: {error}") from error
    return registry.kind(saved.detector).restore(saved, device)

"""A detector within another's artefact: one pair of files, one SHA-256, whatever kind the inner one is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    tensors: dict[str, Tensor]
    shared: Mapping[str, Path]


@contextmanager
def packed(detector: Detector, near: Path) -> Iterator[Packed]:
    """Through the detector's own save, which alone knows what it needs; the shared files are there for the block.

    near: a folder of the file system they will be kept on, so that they are linked and not copied.
    """
    near.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=near) as folder:
        saved = artefact.read(Path(folder), detector.save(Path(folder)))
        description = {name: value for name, value in vars(saved).items() if name not in ("tensors", "shared")}
        description["calibration"] = artefact.plain(saved.calibration)
        tensors = {PREFIX + name: tensor for name, tensor in saved.tensors.items()}
        yield Packed(description, tensors, saved.shared)


def unpacked(outer: Artefact, description: Mapping[str, Any], device: str) -> Detector:
    """The inner detector, of the outer one's files."""
    from workers.detectors import registry  # it names the outer detector too

    inner = {name.removeprefix(PREFIX): tensor for name, tensor in outer.tensors.items() if name.startswith(PREFIX)}
    try:
        calibration = artefact.calibration(description["calibration"])
        saved = Artefact(**{**description, "calibration": calibration, "tensors": inner, "shared": outer.shared})
    except (KeyError, TypeError) as error:
        raise ModelError(f"the detector beneath is not one this version knows: {error}") from error
    return registry.kind(saved.detector).restore(saved, device)

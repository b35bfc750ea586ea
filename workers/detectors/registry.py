"""Which detectors there are: taught and loaded by name. Torch is imported here and below: import it late."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import torch

from storage.errors import ModelError
from workers.detectors import artefact, patchcore
from workers.detectors.artefact import Artefact
from workers.detectors.detector import Detector, Image


class Kind(Protocol):
    """A class whose saved models can be loaded."""

    def restore(self, saved: Artefact, device: str = "cpu") -> Detector: ...


DETECTORS: dict[str, Kind] = {patchcore.PatchCore.name: patchcore.PatchCore}


def use_threads(count: int) -> None:
    """For this process; several workers with many threads each get in each other's way."""
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def teach(
    detector: str,
    images: Iterable[Image],
    *,
    image_size: int,
    target_false_reject_rate: float,
    review_share: float,
    seed: int,
    groups: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Detector:
    """Teach a detector of this name from known-good images; those of one part have the same of the groups."""
    kind(detector)
    configuration = patchcore.PatchCoreConfiguration(
        image_size=image_size, target_false_reject_rate=target_false_reject_rate, review_share=review_share
    )
    return patchcore.teach(images, groups=groups, configuration=configuration, seed=seed, progress=progress)


def load(folder: Path, expected_sha256: str, device: str = "cpu") -> Detector:
    """The saved detector; ModelAltered when a file is not what was recorded, ModelMissing when one is not there."""
    saved = artefact.read(folder, expected_sha256)
    return kind(saved.detector).restore(saved, usable(device))


def usable(device: str) -> str:
    """`auto` takes the GPU that Ray granted this process, when there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def kind(detector: str) -> Kind:
    if detector not in DETECTORS:
        raise ModelError(f'the detector is "{detector}"; allowed: {", ".join(sorted(DETECTORS))}')
    return DETECTORS[detector]

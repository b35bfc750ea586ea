"""Which detectors there are: taught and loaded by name. Torch is imported here and below: import it late."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import torch

from storage.errors import ModelConfigurationWrong, ModelError
from workers.detectors import anomalyclip_teaching, artefact, patchcore, patchcore_teaching, supervised
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.artefact import Artefact
from workers.detectors.backbone import BackboneSource
from workers.detectors.detector import Detector, Image


class Kind(Protocol):
    """A class whose saved models can be loaded."""

    def restore(self, saved: Artefact, device: str = "cpu") -> Detector: ...


Weights = anomalyclip_teaching.Source | BackboneSource
"""What a detector stands on, where it brings none of its own."""

DETECTORS: dict[str, Kind] = {
    patchcore.PatchCore.name: patchcore.PatchCore,
    AnomalyCLIPDetector.name: AnomalyCLIPDetector,
    supervised.SupervisedDetector.name: supervised.SupervisedDetector,
}


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
    tiles: str = "1x1",
    local_contrast: bool = True,
    groups: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
    weights: Weights | None = None,
) -> Detector:
    """Teach a detector of this name from known-good images; those of one part have the same of the groups.

    weights: those it stands on; patchcore brings its own, and takes a CLIP's visual tower instead.
    """
    kind(detector)
    if detector == supervised.SupervisedDetector.name:
        raise ModelConfigurationWrong(
            "supervised: taught from labels, on top of a detector taught from known-good parts"
        )
    if detector == AnomalyCLIPDetector.name:
        if not isinstance(weights, anomalyclip_teaching.Source):
            raise ModelConfigurationWrong("anomalyclip: not given which CLIP weights and which prompts it stands on")
        return anomalyclip_teaching.teach(
            images,
            weights,
            image_size=image_size,
            target_false_reject_rate=target_false_reject_rate,
            review_share=review_share,
            seed=seed,
            groups=groups,
            progress=progress,
        )
    configuration = patchcore.PatchCoreConfiguration(
        image_size=image_size,
        tiles=tiles,
        local_contrast=local_contrast,
        target_false_reject_rate=target_false_reject_rate,
        review_share=review_share,
    )
    source = weights if isinstance(weights, BackboneSource) else None
    return patchcore_teaching.teach(
        images, groups=groups, configuration=configuration, seed=seed, progress=progress, source=source
    )


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

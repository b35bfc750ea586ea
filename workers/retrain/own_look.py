"""How a one-class detector looks at a frame itself, where that is not how the head on top of it does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from storage.images import Image
from workers.detectors import anomalyclip_features, eye_features
from workers.detectors.anomalyclip import ImageFeatures
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.detector import Detector
from workers.detectors.patchcore import Eye, PatchCore
from workers.retrain.feature_cache import Arrays

Seen = TypeVar("Seen")


class OwnLook(NamedTuple, Generic[Seen]):
    """key: changes with all that decides what is seen, and with nothing that is learned."""

    key: str
    look: Callable[[Image], Arrays]
    """InspectionFailed when the image is none."""
    read: Callable[[Arrays], Seen]
    """What the detector scores, of what `look` gave."""


def own_look(base: Detector) -> OwnLook[Any] | None:
    """None where nothing is known of how the detector looks."""
    if isinstance(base, PatchCore):
        return eye_look(base.eye)
    return clip_look(base) if isinstance(base, AnomalyCLIPDetector) else None


def clip_look(base: AnomalyCLIPDetector) -> OwnLook[ImageFeatures]:
    return OwnLook(
        base.look_key,
        lambda image: anomalyclip_features.packed(base.features([image])),
        anomalyclip_features.unpacked,
    )


def eye_look(eye: Eye) -> OwnLook[list[Any]]:
    """Of a PatchCore that cuts frames into tiles, or looks with a CLIP: of each tile what the backbone says."""
    return OwnLook(
        eye_features.key_of(eye),
        lambda image: eye_features.packed(eye.features(image)),
        partial(eye_features.unpacked, eye=eye),
    )

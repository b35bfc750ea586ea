"""How a one-class detector looks at a frame itself, where that is not how the head on top of it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from storage.images import Image
from workers.detectors import anomalyclip_features
from workers.detectors.anomalyclip import ImageFeatures
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.detector import Detector
from workers.retrain.feature_cache import Arrays


class OwnLook(NamedTuple):
    """key: changes with all that decides what is seen, and with nothing that is learned."""

    key: str
    look: Callable[[Image], Arrays]
    """InspectionFailed when the image is none."""
    read: Callable[[Arrays], ImageFeatures]
    """What the detector scores, of what `look` gave."""


def own_look(base: Detector) -> OwnLook | None:
    """None where the detector shares the head's look, or where nothing is known of how it looks."""
    return clip_look(base) if isinstance(base, AnomalyCLIPDetector) else None


def clip_look(base: AnomalyCLIPDetector) -> OwnLook:
    return OwnLook(
        base.look_key,
        lambda image: anomalyclip_features.packed(base.features([image])),
        anomalyclip_features.unpacked,
    )

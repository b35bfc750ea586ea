"""What the frozen backbone says of a frame: made once, kept, and all that a refit needs instead of the pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from storage.errors import TeachingFailed
from workers.detectors.detector import Image
from workers.detectors.efficientnet_lite import (
    PREPROCESSING,
    S8_CHANNELS,
    S16_CHANNELS,
    S32_CHANNELS,
    WEIGHTS_SHA256,
    EfficientNetLite,
    Features,
)

Half = NDArray[np.float16]
CHANNELS = (S8_CHANNELS, S16_CHANNELS, S32_CHANNELS)
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Look:
    """How the backbone looks at a frame. Features of different looks cannot be learned from together."""

    image_size: int = 256
    local_contrast: bool = True

    @property
    def key(self) -> str:
        """Which features these are, for a cache: changes with the backbone and with the preprocessing."""
        said = f"{sorted(asdict(self).items())} {sorted(map(str, PREPROCESSING.items()))} {WEIGHTS_SHA256}"
        return sha256(said.encode()).hexdigest()[:16]


class FrameFeatures(NamedTuple):
    """Half precision, (channels, rows, columns) each: at 256 pixels (40, 32, 32), (112, 16, 16), (320, 8, 8); 180 kB.

    Half, because all that is learned is learned from so much of them; serving rounds them in the same way.
    """

    s8: Half
    s16: Half
    s32: Half

    def unpacked(self) -> Features:
        return Features(*(torch.from_numpy(stage).float() for stage in self))


def packed(features: Features) -> FrameFeatures:
    return FrameFeatures(*(stage.half().cpu().numpy() for stage in features))


def checked(features: FrameFeatures, look: Look) -> FrameFeatures:
    """What a cache gave back; TeachingFailed where it is of another look."""
    for stage, channels, stride in zip(features, CHANNELS, STRIDES, strict=True):
        side = look.image_size // stride
        if stage.dtype != np.float16 or stage.shape != (channels, side, side):
            raise TeachingFailed(
                f"features are {stage.dtype} of shape {stage.shape}; allowed at {look.image_size} pixels: "
                f"float16 of shape {(channels, side, side)}"
            )
    return features


class Looker:
    """The backbone with its look: the one forward pass of a frame."""

    def __init__(self, look: Look, device: str = "cpu", backbone: EfficientNetLite | None = None) -> None:
        """backbone: one that looks so, where there is one in memory."""
        self.look = look
        self.backbone = backbone or EfficientNetLite(look.image_size, device, contrast=look.local_contrast)

    def features(self, image: Image) -> FrameFeatures:
        """InspectionFailed when the image is none."""
        return packed(self.backbone.features(image))

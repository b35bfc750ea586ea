"""From a frame, as the camera or the disk gave it, to what AnomalyCLIP's visual tower reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from storage.errors import ImageUnreadable
from workers.detectors.anomalyclip import AnomalyCLIPConfig
from workers.detectors.detector import Image

FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


def preprocess(images: Sequence[Image], config: AnomalyCLIPConfig) -> Tensor:
    """Squash each image to the model's square and normalise it, (B, 3, S, S) in float32."""
    pixels = torch.stack([_square(image, config) for image in images])  # (B, 3, S, S), RGB in [0, 1]
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    return (pixels - mean) / std


def _square(image: Image, config: AnomalyCLIPConfig) -> Tensor:
    check(image)
    resized = _resize_8_bit(image, config) if image.dtype == np.uint8 else _resize_16_bit(image, config)
    scaled = (resized.float() / FULL_SCALE[image.dtype]).clamp(0, 1)  # bicubic overshoots at edges
    return scaled.flip(0).expand(3, -1, -1)  # BGR to RGB; grey is all three


def _resize_8_bit(image: Image, config: AnomalyCLIPConfig) -> Tensor:
    """(3, S, S) in uint8, rounded and clamped as Pillow does, which the published preprocessing uses."""
    # Three interleaved channels take torch's fast path; one alone takes five times as long.
    colour = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    return _resize(colour, config)  # (3, S, S)


def _resize_16_bit(image: Image, config: AnomalyCLIPConfig) -> Tensor:
    """(1 or 3, S, S) in float32, never rounded to 8 bit; plane by plane, because 100 megapixels take 400 MB each."""
    planes = [image] if image.ndim == 2 else [image[:, :, channel] for channel in range(3)]
    return torch.cat([_resize(plane.astype(np.float32)[:, :, None], config) for plane in planes])


def _resize(pixels: NDArray[np.generic], config: AnomalyCLIPConfig) -> Tensor:
    """(h, w, C) to (C, S, S)."""
    # Frames from an object store are read-only, and torch warns of those: they are copied.
    writable = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    channels_first = writable.permute(2, 0, 1)[None]  # (1, C, h, w)
    square, mode = (config.image_size, config.image_size), config.image_interpolation
    return F.interpolate(channels_first, square, mode=mode, antialias=True, align_corners=False)[0]


def check(image: Image) -> None:
    """Refuse what is not an image of `storage.images.decode`'s kind."""
    given = f"{type(image).__name__} of shape {getattr(image, 'shape', ())} and type {getattr(image, 'dtype', '-')}"
    allowed = "allowed: (height, width) grey or (height, width, 3) BGR, uint8 or uint16"
    if not isinstance(image, np.ndarray) or image.dtype not in FULL_SCALE:
        raise ImageUnreadable(f"given {given}; {allowed}")
    if image.ndim == 3 and image.shape[2] == 4:
        raise ImageUnreadable(f"given {given}, with an alpha channel; drop it first; {allowed}")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or 0 in image.shape:
        raise ImageUnreadable(f"given {given}; {allowed}")


def preprocess_mask(mask: NDArray[np.uint8], size: int) -> Tensor:
    """A mask, anything above 0 being defect, as 0 and 1 in the model's square, (S, S)."""
    marked = torch.from_numpy((mask > 0).astype(np.uint8) * np.uint8(255))[None, None]  # (1, 1, h, w)
    resized = F.interpolate(marked, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return (resized[0, 0].float() / 255 > 0.5).float()

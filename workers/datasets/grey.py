"""Images as grey numbers, whatever their depth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import Image


def grey(image: Image) -> NDArray[np.float32]:
    """(H, W) in [0, 1], 1 being white at the image's depth."""
    flat = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    return np.asarray(flat, np.float32) / np.float32(np.iinfo(image.dtype).max)

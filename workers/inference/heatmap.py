"""The anomaly map as a file: 16-bit PNG, 0..65535 for 0..1, lossless to 1.5e-5."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SCALE = 65535.0


def encode_map(anomaly_map: NDArray[np.float32]) -> bytes:
    """(h, w) in [0, 1] to PNG bytes."""
    levels = np.rint(np.clip(anomaly_map, 0.0, 1.0) * SCALE).astype(np.uint16)
    done, data = cv2.imencode(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"the anomaly map of shape {anomaly_map.shape} could not be encoded")
    return data.tobytes()


def decode_map(data: bytes) -> NDArray[np.float32]:
    """PNG bytes to (h, w) in [0, 1]."""
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None:
        raise ValueError("not an anomaly map")
    return levels.astype(np.float32) / np.float32(SCALE)

"""Where the model sees the defect: outlines of the anomaly map from the NG threshold on, in pixels of the frame."""

from __future__ import annotations

from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import ImageStore, decode
from storage.label_models import RegionKind
from storage.resolution import RegionFacts

SCALE: Final = 65535.0  # the map's PNG holds 0..65535 for 0..1
MOST: Final = 20
SMALLEST_SHARE: Final = 1e-4  # of the frame: less is noise of the resampling


def anomaly_map(store: ImageStore, map_sha256: str, width: int, height: int) -> NDArray[np.float32]:
    """(height, width) in [0, 1], brought to the frame's size."""
    levels = decode(store.get(map_sha256)).astype(np.float32) / np.float32(SCALE)
    return np.asarray(cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def proposed(store: ImageStore, view: dict[str, Any]) -> list[RegionFacts]:
    """Regions a person can accept as they are, the largest first; none where the map nowhere reaches the threshold.

    view: camera, width, height, map_sha256 and ng_threshold of a scored frame.
    """
    if view["map_sha256"] is None:
        return []
    level = anomaly_map(store, view["map_sha256"], view["width"], view["height"])
    above = (level >= view["ng_threshold"]).astype(np.uint8)
    outlines, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    smallest = SMALLEST_SHARE * view["width"] * view["height"]
    kept = sorted((one for one in outlines if cv2.contourArea(one) >= smallest), key=cv2.contourArea, reverse=True)
    return [polygon(view["camera"], cast(NDArray[np.int32], one)) for one in kept[:MOST]]


def polygon(camera: str, outline: NDArray[np.int32]) -> RegionFacts:
    """outline: (n, 1, 2) pixels; simplified to half a pixel."""
    points = cv2.approxPolyDP(outline, 0.5, True)[:, 0, :].tolist()
    return RegionFacts(camera=camera, kind=RegionKind.POLYGON, points=[(float(x), float(y)) for x, y in points])

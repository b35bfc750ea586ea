"""Where an image of a snapshot is defective, pixel by pixel."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.image_store import ImageStore
from storage.images import decode
from storage.label_models import RegionKind
from storage.snapshot_models import SnapshotItem

Mask = NDArray[np.bool_]
"""(H, W) of the upright image."""


def mask_of(store: ImageStore, item: SnapshotItem) -> Mask | None:
    """All regions in one; None when nobody said where the defect is."""
    if not item.regions:
        return None
    canvas = np.zeros((item.height, item.width), np.uint8)
    for region in item.regions:
        if region["mask_sha256"]:
            drawn = decode(store.get(region["mask_sha256"]))
            canvas[(drawn.max(axis=2) if drawn.ndim == 3 else drawn) > 0] = 1
        else:
            cv2.fillPoly(canvas, [np.rint(corners(region)).astype(np.int32)], 1)
    return canvas.astype(np.bool_)


def corners(region: dict[str, Any]) -> NDArray[np.float64]:
    """(corners, 2), a box's four included."""
    if region["kind"] != RegionKind.BOX:
        return np.array(region["points"], np.float64)
    (left, top), (right, bottom) = region["points"]
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)

"""Where the model sees the defect: outlines of what stands out in the anomaly map, in pixels of the frame."""

from __future__ import annotations

from collections.abc import Iterator
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
RELATIVE: Final = 0.5  # of the way from the map's median to its peak: there a spot of any height has half its own
LARGEST_SHARE: Final = 0.1  # of the frame, where no threshold says how far a spot goes
FLAT: Final = 0.005  # a peak that rises less above the median is none

Outline = NDArray[np.int32]


def anomaly_map(store: ImageStore, map_sha256: str, width: int, height: int) -> NDArray[np.float32]:
    """(height, width) in [0, 1], brought to the frame's size."""
    levels = decode(store.get(map_sha256)).astype(np.float32) / np.float32(SCALE)
    return np.asarray(cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def proposed(store: ImageStore, view: dict[str, Any]) -> list[RegionFacts]:
    """Regions a person can accept as they are, the largest first; none where the map is flat.

    view: camera, width, height, map_sha256, ok_threshold and ng_threshold of a scored frame.
    """
    if view["map_sha256"] is None:
        return []
    level = anomaly_map(store, view["map_sha256"], view["width"], view["height"])
    found = standing_out(level, view["ok_threshold"], view["ng_threshold"])
    return [polygon(view["camera"], outline) for outline in found]


def standing_out(level: NDArray[np.float32], ok_threshold: float, ng_threshold: float) -> list[Outline]:
    """Outlines of what reaches the NG threshold; where nothing does, of what comes nearest to it."""
    for limit in limits(level, ok_threshold, ng_threshold):
        if found := outlines(level >= limit):
            return found
    return []


def limits(level: NDArray[np.float32], ok_threshold: float, ng_threshold: float) -> Iterator[float]:
    """From which level on a place stands out, the strictest first.

    A part's score is not its map's peak: a part under review has seldom a place that reaches a threshold by itself.
    """
    yield from sorted((ng_threshold, ok_threshold), reverse=True)
    usual, peak = float(np.median(level)), float(level.max())
    if peak - usual >= FLAT:
        yield max(usual + RELATIVE * (peak - usual), float(np.quantile(level, 1 - LARGEST_SHARE)))


def outlines(above: NDArray[np.bool_]) -> list[Outline]:
    """The largest first; what is too small is left out."""
    found, _ = cv2.findContours(above.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    kept = [cast(Outline, one) for one in found if cv2.contourArea(one) >= SMALLEST_SHARE * above.size]
    return sorted(kept, key=cv2.contourArea, reverse=True)[:MOST]


def polygon(camera: str, outline: Outline) -> RegionFacts:
    """outline: (n, 1, 2) pixels; simplified to half a pixel."""
    points = cv2.approxPolyDP(outline, 0.5, True)[:, 0, :].tolist()
    return RegionFacts(camera=camera, kind=RegionKind.POLYGON, points=[(float(x), float(y)) for x, y in points])

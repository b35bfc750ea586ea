"""Images of a trial with their heat map, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import Image
from workers.datasets.grey import grey
from workers.datasets.judging import Judgement
from workers.datasets.page import picture, row, section
from workers.datasets.sample import Dataset
from workers.datasets.truth import defect_mask, pixels

SIDE = 224
SHOWN = 8  # in each row
OUTLINE = (255, 255, 255)


def gallery(dataset: Dataset, judgements: Sequence[Judgement], threshold: float) -> str:
    """What was told apart best, what was decided wrongly, and what was nearest to the threshold."""

    def margin(one: Judgement) -> float:
        above = one.prediction.anomaly_score - threshold
        return above if one.sample.is_anomaly else -above

    def rows(title: str, key: Callable[[Judgement], float]) -> str:
        parts = []
        for is_anomaly in (True, False):
            chosen = sorted((one for one in judgements if one.sample.is_anomaly is is_anomaly), key=key)[:SHOWN]
            parts.append(row([shown(dataset, one) for one in chosen]))
        return section(title, *parts)

    return "\n".join(
        [
            rows("Best: the surest right decisions, anomalies above good parts", lambda one: -margin(one)),
            rows("Worst: missed anomalies, and good parts with the highest scores", margin),
            rows("Most uncertain: nearest to the threshold", lambda one: abs(margin(one))),
        ]
    )


def shown(dataset: Dataset, one: Judgement) -> str:
    """The image under its heat map, the true defect outlined in white."""
    image = cv2.resize(overlaid(dataset, one), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    mask = defect_mask(dataset, one.sample)
    if mask is not None and mask.any():
        small = cv2.resize(mask.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(image, outlines, -1, OUTLINE, 1)
    caption = f"{one.sample.label}, score {one.prediction.anomaly_score:.3f}: {one.sample.path}"
    return picture(np.asarray(image, np.uint8), caption)


def overlaid(dataset: Dataset, one: Judgement) -> Image:
    """Half image, half heat map; the colours run over all of [0, 1], so that pictures can be compared."""
    base = thumbnail(pixels(dataset, one.sample.path, minimum_side=SIDE))
    heat = cv2.resize(one.prediction.anomaly_map, base.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    coloured = cv2.applyColorMap((heat.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    return np.asarray(cv2.addWeighted(base, 0.55, coloured, 0.45, 0), np.uint8)


def thumbnail(image: Image) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3), grey and 8 bit, so that the heat map alone has colour."""
    square = cv2.resize(grey(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor((square * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR), np.uint8)

"""A small data set for tests: brushed metal with painted defects, in the MVTec layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.images import Image, encode

SIDE = 96
DEFECTS = ("scratch", "stain")


def good_part(number: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(number)
    lines = random.integers(100, 140, (SIDE, 1)).repeat(SIDE, axis=1) + random.integers(-5, 6, (SIDE, SIDE))
    return lines.astype(np.uint8)


def defect(kind: str, number: int) -> NDArray[np.uint8]:
    """Where the defect is: 255 in a mask that is 0 elsewhere."""
    x, y = np.random.default_rng(1000 + number).integers(20, 60, 2).tolist()
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if kind == "scratch":
        cv2.line(mask, (x, y), (x + 25, y + 12), 255, 4)
    else:
        cv2.circle(mask, (x, y), 9, 255, -1)
    return mask


def write_image(file: Path, pixels: Image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(pixels, "png"))


def write_painted(root: Path, *, taught: int = 40, judged: int = 8) -> Path:
    """`taught` good images in train; `judged` of good and of each defect in test, with masks."""
    for number in range(taught):
        write_image(root / "train" / "good" / f"{number:03}.png", good_part(number))
    for number in range(judged):
        write_image(root / "test" / "good" / f"{number:03}.png", good_part(500 + number))
    for place, kind in enumerate(DEFECTS):
        for number in range(judged):
            image, mask = good_part(600 + 100 * place + number), defect(kind, number)
            image[mask > 0] = 20 if kind == "stain" else 235
            write_image(root / "test" / kind / f"{number:03}.png", image)
            write_image(root / "ground_truth" / kind / f"{number:03}_mask.png", mask)
    return root

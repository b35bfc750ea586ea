"""Small data sets on disk for tests of the readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from storage.images import encode

WIDTH, HEIGHT = 12, 8


def write_images(root: Path, *paths: str) -> None:
    """Grey images of 12x8 pixels; a mask in this size has a defect in the middle."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[3:5, 4:8] = 255
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encode(pixels, "png"))


def write_mvtec(root: Path, truth: str = "ground_truth") -> Path:
    write_images(root, "train/good/0.png", "train/good/1.png", "test/good/0.png", "test/crack/0.png")
    write_images(root, f"{truth}/crack/0_mask.png")
    return root


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def meta_entry(path: str, **others: Any) -> dict[str, Any]:
    return {"img_path": path, "mask_path": "", "cls_name": "lid", "specie_name": "good", "anomaly": 0} | others

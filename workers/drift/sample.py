"""Many frames of one camera as one thing that can be compared: numbers of each, and where their edges are on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.drift.look import SIDE, Look, Picture

SPLITS: Final = 8
EDGES_SCALE: Final = 32.0  # of the mean edge, in a stored byte
WINDOW: Final = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FrameSample:
    """edges: the mean of the frames'; shift_noise: by how many of its pixels two such means differ by chance."""

    brightness: Floats
    contrast: Floats
    sharpness: Floats
    edges: Picture
    shift_noise: float
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.brightness)

    def record(self) -> dict[str, Any]:
        """As JSON, without the edges: those are bytes."""
        return {
            "brightness": self.brightness.round(4).tolist(),
            "contrast": self.contrast.round(4).tolist(),
            "sharpness": self.sharpness.round(4).tolist(),
            "shift_noise": self.shift_noise,
            "width": self.width,
            "height": self.height,
        }

    def edge_bytes(self) -> bytes:
        """(SIDE, SIDE) bytes: enough for a position, a quarter of the room."""
        return np.clip(np.rint(self.edges * EDGES_SCALE), 0, 255).astype(np.uint8).tobytes()


def recorded(record: dict[str, Any], edges: bytes) -> FrameSample:
    picture = np.frombuffer(edges, np.uint8).reshape(SIDE, SIDE).astype(np.float32) / np.float32(EDGES_SCALE)
    numbers = {name: np.array(record[name]) for name in ("brightness", "contrast", "sharpness")}
    return FrameSample(
        **numbers,
        edges=picture,
        shift_noise=record["shift_noise"],
        width=record["width"],
        height=record["height"],
    )


def sample_of(looks: Sequence[Look], seed: int = 0) -> FrameSample:
    """Of frames of one camera, at least two."""
    edges = np.stack([one.edges for one in looks])
    return FrameSample(
        brightness=np.array([one.brightness for one in looks]),
        contrast=np.array([one.contrast for one in looks]),
        sharpness=np.array([one.sharpness for one in looks]),
        edges=edges.mean(axis=0),
        shift_noise=shift_noise(edges, seed),
        width=looks[-1].width,
        height=looks[-1].height,
    )


def shift_noise(edges: NDArray[np.float32], seed: int) -> float:
    """Halves of one sample show no shift but what parts that lie differently make of it."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(SPLITS):
        order = random.permutation(len(edges))
        first, second = (edges[half].mean(axis=0) for half in np.array_split(order, 2))
        found.append(shift(first, second)[:2])
    # The halves have half the frames each: the whole scatters less by the root of two.
    return float(np.sqrt(np.mean(np.square(found)) / 2))


def shift(reference: Picture, window: Picture) -> tuple[float, float, float]:
    """Pixels to the right and down, and how clear that is, from 0 to 1; phase correlation of the edges."""
    (right, down), clear = cv2.phaseCorrelate(
        np.asarray(reference - reference.mean(), np.float32), np.asarray(window - window.mean(), np.float32), WINDOW
    )
    return float(right), float(down), float(clear)

"""Many frames of one camera as one thing to compare: numbers of each, and where their edges are on average."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.drift.look import SIDE, Look, Picture

GROUPS: Final = 8
SPLITS: Final = 8
EDGES_SCALE: Final = 32.0  # of the mean edge, in a stored byte
WINDOW: Final = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FrameSample:
    """edges: the mean of the frames'; shift_noise: the standard deviation of their
    place by chance, in pixels of the square."""

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
        scaled: NDArray[np.uint8] = np.clip(np.rint(self.edges * EDGES_SCALE), 0, 255).astype(np.uint8)
        return scaled.tobytes()


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


class Gathering:
    """Frames as they come. Of their edges the sums of a few groups are kept: 2 MB, however many frames."""

    def __init__(self) -> None:
        self.numbers: list[tuple[float, float, float]] = []
        self.sums = np.zeros((GROUPS, SIDE, SIDE), np.float32)
        self.width = self.height = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, one: Look) -> None:
        self.sums[len(self.numbers) % GROUPS] += one.edges
        self.numbers.append((one.brightness, one.contrast, one.sharpness))
        self.width, self.height = one.width, one.height

    def sample(self, seed: int = 0) -> FrameSample:
        """Of all that was added, at least GROUPS frames."""
        if len(self) < GROUPS:
            raise ValueError(f"{len(self)} frames; a sample has at least {GROUPS}")
        brightness, contrast, sharpness = np.array(self.numbers).T
        return FrameSample(
            brightness=brightness,
            contrast=contrast,
            sharpness=sharpness,
            edges=self.sums.sum(axis=0) / np.float32(len(self)),
            shift_noise=self.shift_noise(seed),
            width=self.width,
            height=self.height,
        )

    def shift_noise(self, seed: int) -> float:
        """Halves of one sample show no shift but what parts that lie differently make of it."""
        random = np.random.default_rng(seed)
        found = []
        for _ in range(SPLITS):
            order = random.permutation(GROUPS)
            first, second = (self.sums[half].sum(axis=0) for half in np.array_split(order, 2))
            found.append(shift(first / first.mean(), second / second.mean())[:2])
        # A half has half the frames: two whole samples differ less, by the root of two, and each has its share of that.
        return float(np.sqrt(np.mean(np.square(found))) / 2)


def sample_of(looks: Iterable[Look], seed: int = 0) -> FrameSample:
    """Of frames of one camera."""
    gathering = Gathering()
    for one in looks:
        gathering.add(one)
    return gathering.sample(seed)


def shift(reference: Picture, window: Picture) -> tuple[float, float, float]:
    """Pixels to the right and down, and how clear that is, from 0 to 1; phase correlation of the edges."""
    (right, down), clear = cv2.phaseCorrelate(
        np.asarray(reference - reference.mean(), np.float32), np.asarray(window - window.mean(), np.float32), WINDOW
    )
    return float(right), float(down), float(clear)

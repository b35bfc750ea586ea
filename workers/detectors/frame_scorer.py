"""From a frame's patches to its raw score and its raw map: the bank and the Gaussian, made comparable and added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.detectors.patch_bank import PatchBank
from workers.detectors.patch_gaussian import PatchGaussian, learn_places
from workers.detectors.patches import Patches
from workers.detectors.tiles import Tiles

MAP_BANK_SHARE = 0.18  # the bank sees small defects and the Gaussian outlines all of them: the map is mostly the latter
MAP_BLUR = 1.5  # patches, of the Gaussian's share: it sees surroundings, and is no sharper than they are

Map = NDArray[np.float64]


class Distances(NamedTuple):
    """(rows, columns) of the whole frame."""

    near: Map  # to the bank
    far: Map  # out in the Gaussian


class Judgement(NamedTuple):
    raw: float
    raw_map: Map


class PatchDistances:
    """Both distances of every patch of a frame."""

    def __init__(self, tiles: Tiles, tensors: Mapping[str, Tensor]) -> None:
        self.tiles, self.bank, self.gaussian = tiles, PatchBank(tensors), PatchGaussian(tensors)

    def of(self, tiles: Sequence[Patches]) -> Distances:
        return Distances(self.near(tiles), self.far(tiles))

    def near(self, tiles: Sequence[Patches]) -> Map:
        return self.tiles.stitch([square(self.bank.distances(tile.fine)) for tile in tiles])

    def far(self, tiles: Sequence[Patches]) -> Map:
        return self.tiles.stitch([square(self.gaussian.distances(tile.coarse)) for tile in tiles])


class Standard(NamedTuple):
    """A known-good image's worst distance: its mean and deviation are the unit."""

    mean: float
    deviation: float

    def of(self, distance: Map) -> Map:
        return (distance - self.mean) / self.deviation


class FrameScorer:
    """Both distances in standard deviations of known-good images' worst distances, weighed into one."""

    def __init__(self, weight: float, worst: int, tensors: Mapping[str, Tensor]) -> None:
        self.weight, self.worst = weight, worst
        self.place_mean, self.place_deviation = (
            tensors[name].cpu().numpy().astype(np.float64) for name in ("place_mean", "place_deviation")
        )
        self.near, self.here, self.far = (Standard(*pair) for pair in tensors["standards"].tolist())

    def judge(self, distances: Distances) -> Judgement:
        """A frame is as bad as its worst patches; the map is on the same scale, and shows where they are."""
        here = (distances.far - self.place_mean) / self.place_deviation
        near, far = self.near.of(worst_mean(distances.near, self.worst)), self.here.of(worst_mean(here, self.worst))
        raw = float(near + self.weight * far) / (1 + self.weight)
        sharp, blurry = self.near.of(distances.near), blurred(self.far.of(distances.far))
        return Judgement(raw, MAP_BANK_SHARE * sharp + (1 - MAP_BANK_SHARE) * blurry)


def learn_standards(known: Sequence[Map], unknown: Sequence[Distances], worst: int) -> dict[str, Tensor]:
    """What FrameScorer needs to know of good frames' distances.

    known: how far out those that were learned from are: which places are so beside the others. From those that were
    not, how far that usually is.
    """
    places = learn_places(torch.from_numpy(np.stack(known)))
    near, far = (np.stack(maps) for maps in zip(*unknown, strict=True))
    here = (far - places["place_mean"].numpy()) / places["place_deviation"].numpy()
    standards = [
        (np.mean(scores), max(np.std(scores), 1e-6))
        for scores in ([worst_mean(one, worst) for one in maps] for maps in (near, here, far))
    ]
    return {**places, "standards": torch.tensor(standards, dtype=torch.float64)}


def blurred(raw_map: Map) -> Map:
    return np.asarray(cv2.GaussianBlur(raw_map, (0, 0), MAP_BLUR, borderType=cv2.BORDER_REPLICATE), np.float64)


def square(distances: Tensor) -> Map:
    """(grid * grid,) to (grid, grid)."""
    side = int(len(distances) ** 0.5)
    return distances.cpu().numpy().astype(np.float64).reshape(side, side)


def worst_mean(distances: Map, count: int) -> NDArray[np.float64]:
    """The mean of the worst patches, so many of them."""
    return np.asarray(np.sort(distances, axis=None)[-count:].mean())

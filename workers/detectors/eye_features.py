"""What a PatchCore's backbone says of a frame's tiles, as it is kept. It is frozen: to look once is enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any, Final

import torch
from numpy.typing import NDArray

from workers.detectors.halved import Arrays, halved
from workers.detectors.patchcore import Eye

COMPUTED_AS: Final = 2
"""To be raised when tiles are cut otherwise, or named."""


def key_of(eye: Eye) -> str:
    """Which features these are, for a cache: of this backbone, of a frame cut in this way, whatever was learned."""
    return sha256(f"tiles {COMPUTED_AS} {tuple(eye.tiles)} {eye.backbone.look_key}".encode()).hexdigest()[:16]


def packed(tiles: Sequence[Sequence[torch.Tensor]]) -> Arrays:
    """Half precision; what is learned from them must be learned from `unpacked` ones, the first time too."""
    return {
        f"{number:04}.{place:04}": halved(tensor)  # in the order of their names
        for number, tile in enumerate(tiles)
        for place, tensor in enumerate(tile)
    }


def unpacked(kept: Mapping[str, NDArray[Any]], eye: Eye) -> list[Any]:
    """What `Eye.features` gives, in single precision."""
    return [
        eye.backbone.of_tensors([torch.from_numpy(kept[name]).float() for name in names])
        for _, names in groupby(sorted(kept), key=lambda name: name.split(".")[0])
    ]

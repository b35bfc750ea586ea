"""An image as patches: what PatchCore's bank and its Gaussian see of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from workers.detectors.efficientnet_lite import Features

SURROUNDINGS = 5  # patches along a side


class Patches(NamedTuple):
    """(patches, channels), row by row of the stride-16 grid."""

    fine: Tensor  # strides 8 and 16, for the bank
    coarse: Tensor  # strides 16 and 32 with their surroundings, for the Gaussian
    embedding: Tensor  # (channels,): the means over the image of strides 16 and 32

    @property
    def grid(self) -> int:
        """Patches along a side of the square image."""
        return int(len(self.fine) ** 0.5)


def patches_of(features: Features) -> Patches:
    """Both views on the stride-16 grid."""
    grid = features.s16.shape[1:]
    fine = torch.cat([avg_pool2d(features.s8[None], 2), features.s16[None]], 1)
    around16, around32 = (
        avg_pool2d(stage[None], SURROUNDINGS, 1, SURROUNDINGS // 2, count_include_pad=False)
        for stage in (features.s16, features.s32)
    )
    coarse = torch.cat([around16, interpolate(around32, grid, mode="bilinear", align_corners=False)], 1)
    embedding = torch.cat([features.s16.mean((1, 2)), features.s32.mean((1, 2))])
    return Patches(rows(fine), rows(coarse), embedding)


def rows(stage: Tensor) -> Tensor:
    """(1, channels, h, w) to (h * w, channels)."""
    return stage[0].flatten(1).T.contiguous()

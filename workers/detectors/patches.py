"""An image as patches: what PatchCore's bank and its Gaussian see of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from workers.detectors.efficientnet_lite import Features

FINE_SURROUNDINGS = 3  # patches along a side
SURROUNDINGS = {8: 5, 16: 7, 32: 5}  # of each stride, the last in patches of its own grid


class Patches(NamedTuple):
    """(patches, channels), row by row of the stride-16 grid."""

    fine: Tensor  # stride 8 alone and with its surroundings, and stride 16, for the bank
    coarse: Tensor  # strides 8, 16 and 32 with their surroundings, for the Gaussian
    embedding: Tensor  # (channels,): the means over the image of strides 16 and 32

    @property
    def grid(self) -> int:
        """Patches along a side of the square image."""
        return int(len(self.fine) ** 0.5)


def patches_of(features: Features) -> Patches:
    """Both views on the stride-16 grid."""
    s8, s16, s32 = avg_pool2d(features.s8[None], 2), features.s16[None], features.s32[None]
    fine = torch.cat([s8, around(s8, FINE_SURROUNDINGS), s16], 1)
    grown32 = interpolate(around(s32, SURROUNDINGS[32]), s16.shape[2:], mode="bilinear", align_corners=False)
    coarse = torch.cat([around(s8, SURROUNDINGS[8]), around(s16, SURROUNDINGS[16]), grown32], 1)
    embedding = torch.cat([features.s16.mean((1, 2)), features.s32.mean((1, 2))])
    return Patches(rows(fine), rows(coarse), embedding)


def around(stage: Tensor, side: int) -> Tensor:
    """Each patch as the mean of its surroundings, so many patches along a side."""
    return avg_pool2d(stage, side, 1, side // 2, count_include_pad=False)


def rows(stage: Tensor) -> Tensor:
    """(1, channels, h, w) to (h * w, channels)."""
    return stage[0].flatten(1).T.contiguous()

"""The supervised head: from frozen features to how likely each patch, and the image, is defective.

Several members are evaluated at once as one grouped network. Each was trained without one fold of the labelled parts,
so that what a member says of its fold can be trusted; of a new part they are averaged. An image counts as its worst
patches do, as in multiple-instance learning: image labels without a mask train the patches too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import interpolate

from workers.detectors.efficientnet_lite import S8_CHANNELS, S16_CHANNELS, S32_CHANNELS, Features
from workers.detectors.head_configuration import HeadConfiguration

CHANNELS = (2 * S8_CHANNELS, S16_CHANNELS, S32_CHANNELS)
SCARCE = -2.0  # the first guess of a patch's logit: most patches are good


class Inputs(NamedTuple):
    """Features of a batch, all but the last on the stride-16 grid: (B, channels, rows, columns)."""

    s8: Tensor  # mean and maximum of each 2x2 patch
    s16: Tensor
    s32: Tensor


class Logits(NamedTuple):
    """What each member says: image (B, members), patches (B, members, rows, columns), on one scale."""

    image: Tensor
    patches: Tensor


def inputs(features: Features) -> Inputs:
    """One image as a batch of one."""
    return Inputs(pooled(features.s8[None]), features.s16[None], features.s32[None])


def pooled(s8: Tensor) -> Tensor:
    """(B, channels, h, w) to (B, 2 * channels, h / 2, w / 2): mean and maximum. Torch's own pooling takes six times as
    long."""
    left, right = s8[..., ::2], s8[..., 1::2]
    sums, larger = left + right, torch.maximum(left, right)
    means = (sums[..., ::2, :] + sums[..., 1::2, :]) / 4
    return torch.cat([means, torch.maximum(larger[..., ::2, :], larger[..., 1::2, :])], 1)


def head_of(configuration: HeadConfiguration, channels: Sequence[int] = CHANNELS) -> Head:
    """Untrained; channels: of each stage, where they are not the backbone's."""
    own = configuration
    return Head(own.members, own.width, own.worst_share, own.dropout, channels)


class Head(nn.Module):
    """Project each stride, add them on the stride-16 grid, look at 3x3 patches, judge each one."""

    def __init__(self, members: int, width: int, worst_share: float, dropout: float, channels: Sequence[int]) -> None:
        super().__init__()
        self.members, self.worst_share, self.dropout = members, worst_share, dropout
        wide = members * width
        self.projections = nn.ModuleList(nn.Conv2d(count, wide, 1) for count in channels)
        self.context = nn.Conv2d(wide, wide, 3, padding=1, groups=members)
        self.judge = nn.Conv2d(wide, members, 1, groups=members)
        self.gain, self.offset = nn.Parameter(torch.ones(members)), nn.Parameter(torch.zeros(members))
        nn.init.constant_(self.judge.bias, SCARCE)  # type: ignore[arg-type]  # there is a bias
        for name, count in zip(Inputs._fields, channels, strict=True):
            self.register_buffer(f"{name}_centre", torch.zeros(count, 1, 1))
            self.register_buffer(f"{name}_scale", torch.ones(count, 1, 1))

    def standardise(self, stage: Tensor, name: str) -> Tensor:
        standardised: Tensor = (stage - self.get_buffer(f"{name}_centre")) / self.get_buffer(f"{name}_scale")
        return standardised

    def forward(self, stages: Inputs) -> Logits:
        return self.of_standardised(Inputs(*map(self.standardise, stages, Inputs._fields)))

    def of_standardised(self, stages: Inputs) -> Logits:
        grid = stages.s16.shape[2:]
        projected = []
        for stage, projection in zip(stages, self.projections, strict=True):
            one = projection(stage)  # (B, members * width, h, w)
            coarser = one.shape[2:] != grid
            projected.append(interpolate(one, grid, mode="bilinear", align_corners=False) if coarser else one)
        x = self.dropped(F.relu(sum(projected[1:], projected[0])))
        x = self.dropped(F.relu(self.context(x)))
        judged = self.judge(x)  # (B, members, h, w)
        count = max(1, int(self.worst_share * grid.numel()))
        worst = judged.flatten(2).topk(count, 2).values.mean(2)  # (B, members)
        gain, offset = self.gain, self.offset
        return Logits(worst * gain + offset, judged * gain[:, None, None] + offset[:, None, None])

    def dropped(self, x: Tensor) -> Tensor:
        """Whole channels: neighbouring patches tell the same."""
        return F.dropout2d(x, self.dropout, self.training)

"""EfficientNet-Lite0 up to stride 32, as the published TensorFlow weights want it.

Mingxing Tan, Quoc Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019. The Lite
variant has no squeeze-and-excitation, and ReLU6 for its activation. timm has it too and a test holds this against it,
but importing timm takes about as long as teaching does, at every start and after every crash of a worker.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STEM_CHANNELS = 32
EPSILON = 0.001  # of BatchNorm, as in TensorFlow


class Stage(NamedTuple):
    """A row of the paper's table."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
TAPS = (2, 4, 6)
"""The last stages of strides 8, 16 and 32."""


class SameConv2d(nn.Conv2d):
    """Pads as TensorFlow does: as little as gives ceil(size / stride), the odd pixel at the end."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 1:  # the same on both sides
            return F.conv2d(x, self.weight, self.bias, 1, self.kernel_size[0] // 2, 1, self.groups)
        top, bottom = self.margins(x.shape[-2])
        left, right = self.margins(x.shape[-1])
        padded = F.pad(x, (left, right, top, bottom))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)

    def margins(self, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        return missing // 2, missing - missing // 2


class Unit(nn.Module):
    """A convolution, its BatchNorm, and ReLU6 unless it ends a block."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int = 1, *, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.convolution: nn.Conv2d = SameConv2d(before, after, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(after, eps=EPSILON)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.convolution(x))
        return F.relu6(y, inplace=True) if self.active else y

    def fold(self) -> None:
        """Put the BatchNorm into the convolution: a third of the time, and 5e-5 of difference."""
        assert isinstance(self.norm, nn.BatchNorm2d), "folded once"
        self.convolution, self.norm = fuse_conv_bn_eval(self.convolution, self.norm), nn.Identity()


class Block(nn.Module):
    """An inverted residual: expand, convolve each channel by itself, project; and add the input where it fits."""

    def __init__(self, before: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inside = before * stage.expansion
        units = [Unit(before, inside, 1)] if stage.expansion > 1 else []
        units.append(Unit(inside, inside, stage.kernel, stride, groups=inside))
        units.append(Unit(inside, stage.channels, 1, active=False))
        self.units = nn.Sequential(*units)
        self.adds_input = stride == 1 and before == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.units(x)
        return y + x if self.adds_input else y


class EfficientNetLite0(nn.Module):
    """(B, 3, H, W) to the features at strides 8, 16 and 32: (B, 40, H/8, W/8), (B, 112, …), (B, 320, …)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, STEM_CHANNELS, 3, 2)
        self.stages = nn.ModuleList()
        before = STEM_CHANNELS
        for stage in STAGES:
            strides = [stage.stride] + [1] * (stage.repeats - 1)
            inputs = [before] + [stage.channels] * (stage.repeats - 1)
            self.stages.append(nn.Sequential(*(Block(i, stage, s) for i, s in zip(inputs, strides, strict=True))))
            before = stage.channels

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in TAPS:
                taps.append(x)
        return taps

    def fold(self) -> None:
        for module in list(self.modules()):
            if isinstance(module, Unit):
                module.fold()

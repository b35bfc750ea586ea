"""The backbone's last blocks, fine-tuned: from kept activations at stride 16 to the logit of a frame.

What lies below stays frozen, so that kept features are enough to learn from and the one forward pass of a frame
serves this, too. The lower layers are the general ones: Yosinski et al., "How transferable are features in deep neural
networks?", NeurIPS 2014.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storage.errors import ModelError
from workers.detectors.efficientnet_lite import S32_CHANNELS
from workers.detectors.efficientnet_lite0 import TAPS, Block, EfficientNetLite0, Unit

LEARNING = 4
"""Blocks that learn: all at stride 32. Two of them take half the time; on solar cells they learned less."""


class Tail(nn.Module):
    """(B, h, w, 192), as `Tails.entered` gives it, to (B,) logits."""

    def __init__(self, blocks: Sequence[nn.Module], dropout: float) -> None:
        super().__init__()
        self.blocks, self.dropout = nn.ModuleList(blocks), dropout
        self.judge = nn.Linear(S32_CHANNELS, 1)
        nn.init.normal_(self.judge.weight, std=0.01)
        nn.init.zeros_(self.judge.bias)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = through(cast(Block, block), x)
        pooled = F.dropout(x.mean((1, 2)), self.dropout, self.training)  # (B, 320)
        logits: Tensor = self.judge(pooled)[:, 0]
        return logits

    def learning(self) -> list[nn.Parameter]:
        """All but the kernels that look at one channel each: 4 % of the weights, most of the time."""
        return [one for block in self.blocks for one in changeable(cast(Block, block))]


class Tails(nn.Module):
    """(B, 112, h, w) at stride 16 to (B,) logits: the mean of members that each learned without one fold."""

    def __init__(self, entry: nn.Sequential, members: Sequence[Tail]) -> None:
        super().__init__()
        self.entry, self.members = entry, nn.ModuleList(members)

    def forward(self, activations: Tensor) -> Tensor:
        x = self.entered(activations)
        return torch.stack([member(x) for member in self.members]).mean(0)

    def entered(self, activations: Tensor) -> Tensor:
        """(B, h / 2, w / 2, 192): what no training changes."""
        found: Tensor = self.entry(activations)
        return found.permute(0, 2, 3, 1).contiguous()


def through(block: Block, x: Tensor) -> Tensor:
    """As `Block.forward`, for training: (B, h, w, channels), whose projections are plain products of matrices."""
    expand, middle, project = (cast(Unit, unit).convolution for unit in block.units)
    y = F.relu6(F.linear(x, expand.weight[:, :, 0, 0], expand.bias))
    y = F.relu6(Depthwise.apply(y.permute(0, 3, 1, 2), middle.weight, middle.bias).permute(0, 2, 3, 1))
    y = F.linear(y, project.weight[:, :, 0, 0], project.bias)
    return y + x if block.adds_input else y


def changeable(block: Block) -> list[nn.Parameter]:
    expand, _, project = block.units
    return [*expand.parameters(), *project.parameters()]


class Depthwise(torch.autograd.Function):
    """A convolution of each channel by itself whose kernels do not learn.

    torch's own way back through one takes a CPU as long as all the rest of the network; for an odd kernel at stride 1
    it is the same convolution turned around.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(weight)
        return convolved(x, weight, bias)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = context.saved_tensors
        return convolved(gradients[0], weight.flip(2, 3), None), None, None


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, 1, weight.shape[-1] // 2, 1, len(weight))


def parted(network: EfficientNetLite0) -> tuple[nn.Sequential, list[nn.Module]]:
    """What is after stride 16: the blocks that stay as they are, and the last ones; they are taken, not copied."""
    blocks = [block for stage in network.stages[TAPS[1] + 1 :] for block in cast("nn.Sequential", stage)]
    return nn.Sequential(*blocks[:-LEARNING]), blocks[-LEARNING:]


def restored(tensors: Mapping[str, Tensor]) -> Tails:
    members = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("members."))
    tails = Tails(parted(unfilled())[0], [Tail(parted(unfilled())[1], 0.0) for _ in range(members)])
    try:
        tails.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ModelError(f"the tail's weights are not those of this version's network: {error}") from error
    return tails.eval().requires_grad_(False)


def unfilled() -> EfficientNetLite0:
    """Without weights, as it is folded."""
    network = EfficientNetLite0().eval().requires_grad_(False)
    network.fold()
    return network

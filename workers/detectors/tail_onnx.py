"""The tails as an ONNX graph for ONNX Runtime, as the frozen backbone is served on a CPU."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from workers.detectors.efficientnet_lite0 import Block
from workers.detectors.efficientnet_onnx import Graph, session
from workers.detectors.tail import Tail, Tails


def graph_of(tails: Tails, shape: tuple[int, ...]) -> bytes:
    """For activations of this shape, (images, 112, h, w), to (images, 1)."""
    graph = Graph()
    x = "activations"
    for block in tails.entry:
        x = graph.block(cast(Block, block), x)
    logits = [judged(graph, cast(Tail, member), x) for member in tails.members]
    return graph.model("activations", list(shape), [graph.add("Mean", logits)])


def judged(graph: Graph, tail: Tail, x: str) -> str:
    for block in tail.blocks:
        x = graph.block(cast(Block, block), x)
    pooled = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    judge = [graph.weight(one.detach()) for one in (tail.judge.weight, tail.judge.bias)]
    return graph.add("Gemm", [pooled, *judge], transB=1)


class OnnxTails:
    """The tails in ONNX Runtime, on one thread."""

    def __init__(self, tails: Tails, shape: tuple[int, ...]) -> None:
        self.session = session(graph_of(tails, shape))

    def __call__(self, activations: Tensor) -> Tensor:
        """(images, 112, h, w) to (images,) logits."""
        (found,) = self.session.run(None, {"activations": activations.contiguous().numpy()})
        return torch.from_numpy(found)[:, 0]


class TorchTails:
    """The tails on a GPU."""

    def __init__(self, tails: Tails, device: torch.device) -> None:
        self.tails, self.device = tails.to(device).eval(), device

    def __call__(self, activations: Tensor) -> Tensor:
        with torch.inference_mode():
            return cast(Tensor, self.tails(activations.to(self.device))).cpu()

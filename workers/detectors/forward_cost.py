"""What AnomalyCLIP costs beside the bare visual tower of open_clip, measured alternately in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig


@dataclass(frozen=True)
class ForwardCost:
    """Median milliseconds a batch; ratio is the median over rounds, so that a busy machine cancels out."""

    bare_milliseconds: float
    anomalyclip_milliseconds: float
    ratio: float


def measure(config: AnomalyCLIPConfig, batch_size: int = 1, rounds: int = 20) -> ForwardCost:
    """Time both on equal shapes. The weights are noise: time does not depend on them, and no score is given out."""
    model, bare = _fill(AnomalyCLIP(config)), _fill(build_bare_tower(config))
    images = torch.randn(batch_size, 3, config.image_size, config.image_size)
    text = torch.randn(2, config.embedding_width)
    with torch.inference_mode():
        for _ in range(2):
            bare(images), model(images, text)
        pairs = [(_time(lambda: bare(images)), _time(lambda: model(images, text))) for _ in range(rounds)]
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    theirs, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    return ForwardCost(theirs, ours, ratio)


def build_bare_tower(config: AnomalyCLIPConfig) -> nn.Module:
    """open_clip's own visual tower of the same shape."""
    tower: nn.Module = VisionTransformer(
        image_size=config.image_size,
        patch_size=config.patch_size,
        width=config.vision_width,
        layers=config.vision_layers,
        heads=config.vision_width // config.vision_head_width,
        mlp_ratio=config.vision_mlp_width / config.vision_width,
        output_dim=config.embedding_width,
        act_layer=QuickGELU if config.activation == "quick_gelu" else nn.GELU,
    )
    return tower.eval()


def _fill(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.02)
    return model


def _time(run: Callable[[], Tensor | object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3

"""What a detector costs beside its bare backbone, measured alternately in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import nn

from workers.detectors import clip_catalogue, patchcore, patchcore_teaching
from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig
from workers.detectors.detector import Image

CLIP_SHAPES: Final = ("ViT-B-32", "ViT-B-16")
ROUNDS: Final = 20
TAUGHT: Final = 40  # noise images; with them PatchCore's bank has its full size


@dataclass(frozen=True)
class ForwardCost:
    """Median milliseconds a call; ratio is the median over rounds, so that a busy machine cancels out."""

    bare_milliseconds: float
    detector_milliseconds: float
    ratio: float


def measure_all(rounds: int = ROUNDS) -> dict[str, ForwardCost]:
    """Each detector, one image at a time. The weights of CLIP's shapes are noise, and no score is given out."""
    costs = {"patchcore": measure_patchcore(rounds)}
    for shape in CLIP_SHAPES:
        costs[f"anomalyclip {shape}"] = measure_anomalyclip(configuration(shape), rounds=rounds)
    return costs


def measure_patchcore(rounds: int, image_size: int = patchcore.PatchCoreConfiguration.image_size) -> ForwardCost:
    """From decoded image to prediction, against the backbone's features of the same image."""
    taught = patchcore.PatchCoreConfiguration(image_size=image_size)
    detector = patchcore_teaching.teach((noise(number, image_size) for number in range(TAUGHT)), configuration=taught)
    image = noise(TAUGHT, image_size)
    return alternate(lambda: detector.eye.backbone.features(image), lambda: detector.predict([image]), rounds)


def noise(number: int, side: int) -> Image:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def configuration(shape: str) -> AnomalyCLIPConfig:
    """AnomalyCLIP over a model of open_clip, at the size the model was trained for."""
    described = clip_catalogue.shape(clip_catalogue.parse(shape))
    vision, text = described["vision_cfg"], described["text_cfg"]
    head_width = vision.get("head_width", 64)
    return AnomalyCLIPConfig(
        patch_size=vision["patch_size"],
        native_grid=vision["image_size"] // vision["patch_size"],
        image_size=vision["image_size"],
        vision_width=vision["width"],
        vision_layers=vision["layers"],
        vision_mlp_width=int(vision["width"] * vision.get("mlp_ratio", 4)),
        vision_head_width=head_width,
        text_width=text["width"],
        text_layers=text["layers"],
        text_mlp_width=int(text["width"] * text.get("mlp_ratio", 4)),
        text_head_width=text["width"] // text["heads"],
        context_length=text.get("context_length", 77),
        embedding_width=described["embed_dim"],
        dpam_layer=round(vision["layers"] * 20 / 24),
        features_list=(vision["layers"],),
    )


def measure_anomalyclip(config: AnomalyCLIPConfig, batch_size: int = 1, rounds: int = ROUNDS) -> ForwardCost:
    """Against open_clip's own visual tower of the same shape."""
    model, bare = _fill(AnomalyCLIP(config)), _fill(build_bare_tower(config))
    images = torch.randn(batch_size, 3, config.image_size, config.image_size)
    text = torch.randn(2, config.embedding_width)
    with torch.inference_mode():
        return alternate(lambda: bare(images), lambda: model(images, text), rounds)


def alternate(bare: Callable[[], object], detector: Callable[[], object], rounds: int) -> ForwardCost:
    """Time both by turns, after two calls that pay for what is made once."""
    for _ in range(2):
        bare(), detector()
    pairs = [(_time(bare), _time(detector)) for _ in range(rounds)]
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
    return model.eval()


def _time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3

"""A tiny CLIP with random weights, under the key names of the released ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workers.detectors import prompts
from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig

VOCABULARY = 49408


@dataclass(frozen=True)
class Shape:
    """What a CLIP is made of."""

    patch: int = 8
    native_grid: int = 4
    vision_width: int = 64
    vision_layers: int = 3
    text_width: int = 64
    text_layers: int = 3
    embedding: int = 32
    context_length: int = 77


def weights(shape: Shape = Shape(), seed: int = 0) -> dict[str, Tensor]:
    """Random CLIP weights of this shape."""
    generator = torch.Generator().manual_seed(seed)

    def random(*size: int, std: float) -> Tensor:
        return torch.randn(size, generator=generator) * std

    width, text = shape.vision_width, shape.text_width
    clip = {
        "visual.conv1.weight": random(width, 3, shape.patch, shape.patch, std=0.05),
        "visual.class_embedding": random(width, std=0.5),
        "visual.positional_embedding": random(shape.native_grid**2 + 1, width, std=0.5),
        "visual.proj": random(width, shape.embedding, std=width**-0.5),
        "positional_embedding": random(shape.context_length, text, std=0.1),
        "text_projection": random(text, shape.embedding, std=text**-0.5),
        "token_embedding.weight": random(VOCABULARY, text, std=0.1),
        "logit_scale": torch.tensor(2.6),
    }
    norms = [("visual.ln_pre", width), ("visual.ln_post", width), ("ln_final", text)]
    for prefix, size, layers in (("visual.", width, shape.vision_layers), ("", text, shape.text_layers)):
        for i in range(layers):
            block = f"{prefix}transformer.resblocks.{i}"
            norms += [(f"{block}.ln_1", size), (f"{block}.ln_2", size)]
            for name, rows, columns in (
                ("attn.in_proj_", 3 * size, size),
                ("attn.out_proj.", size, size),
                ("mlp.c_fc.", 4 * size, size),
                ("mlp.c_proj.", size, 4 * size),
            ):
                clip[f"{block}.{name}weight"] = random(rows, columns, std=columns**-0.5)
                clip[f"{block}.{name}bias"] = random(rows, std=0.1)
    for name, size in norms:
        clip[f"{name}.weight"] = 1 + random(size, std=0.1)
        clip[f"{name}.bias"] = random(size, std=0.1)
    return clip


def model(shape: Shape = Shape(), seed: int = 0, prompt_scale: float = 10.0, **choices: Any) -> AnomalyCLIP:
    """A whole model on random weights; prompts are scaled up so that they matter in so small a text tower."""
    clip = weights(shape, seed)
    config = AnomalyCLIPConfig.for_clip(clip, **choices)
    learned = prompts.initialise(config, clip, seed)
    learned = {key: value if key.startswith("token") else value * prompt_scale for key, value in learned.items()}
    return AnomalyCLIP.from_weights(config, clip, learned)

"""Fresh AnomalyCLIP prompts, and whether learned ones belong to these CLIP weights."""

from __future__ import annotations

import torch
from torch import Tensor

from storage.errors import ModelShapeWrong
from workers.detectors.anomalyclip import AnomalyCLIPConfig, Weights

INITIAL_STD = 0.02  # of learned tokens, as published
PLACEHOLDER = "X"  # what stands in the text where a learned token goes


def tokenize(config: AnomalyCLIPConfig) -> Tensor:
    """The token ids of the normal and the abnormal prompt, (2, T)."""
    from open_clip.tokenizer import SimpleTokenizer  # seconds to import, and learned prompts bring their ids

    placeholders = [PLACEHOLDER] * config.n_ctx
    templates = (config.normal_template, config.abnormal_template)
    texts = [" ".join([*placeholders, template.format(config.class_name) + "."]) for template in templates]
    tokens: Tensor = SimpleTokenizer(context_length=config.context_length)(texts)
    return tokens.int()


def initialise(config: AnomalyCLIPConfig, clip: Weights, seed: int) -> dict[str, Tensor]:
    """Prompts to start learning from, under the names of the published checkpoints."""
    generator = torch.Generator().manual_seed(seed)
    width = config.text_width

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * INITIAL_STD

    prompts = {f"ctx_{side}": random(1, 1, config.n_ctx, width) for side in ("pos", "neg")}
    prompts |= {f"compound_prompts_text.{i}": random(config.t_n_ctx, width) for i in range(config.depth - 1)}
    return prompts | fixed_tokens(config, clip)


def fixed_tokens(config: AnomalyCLIPConfig, clip: Weights) -> dict[str, Tensor]:
    """The part of the prompts that is not learned: start of text before, class name, end of text and padding after."""
    fixed = {}
    for side, row in zip(("pos", "neg"), tokenize(config), strict=True):
        embedded = clip["token_embedding.weight"][row.long()].float()[None, None]  # (1, 1, T, W)
        fixed[f"tokenized_prompts_{side}"] = row[None, None]
        fixed[f"token_prefix_{side}"] = embedded[:, :, :1].clone()
        fixed[f"token_suffix_{side}"] = embedded[:, :, 1 + config.n_ctx :].clone()
    return fixed


def check_origin(prompts: Weights, clip: Weights) -> None:
    """Refuse prompts that were learned on another CLIP: their scores would be noise, in silence."""
    for side in ("pos", "neg"):
        expected = clip["token_embedding.weight"][prompts[f"tokenized_prompts_{side}"].flatten()[:1].long()].float()
        given = prompts[f"token_prefix_{side}"].flatten(0, 2).float()
        if expected.shape != given.shape:
            raise ModelShapeWrong(
                [f"prompts: learned on a CLIP of text width {given.shape[1]}, this one has {expected.shape[1]}"]
            )
        if not torch.allclose(expected, given, atol=1e-3):
            raise ModelShapeWrong(["prompts: learned on another CLIP; their token embeddings are not these weights'"])

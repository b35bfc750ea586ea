"""Does this machine, device and dtype compute what the published AnomalyCLIP computes? Runs a recorded case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from storage.errors import ConformanceFailed, WeightsUnreadable
from workers.detectors import anomalyclip_losses as losses
from workers.detectors.anomalyclip import (
    AnomalyCLIP,
    AnomalyCLIPConfig,
    ImageFeatures,
    Scores,
    describe_prompts,
    unit_length,
)
from workers.detectors.tolerance import GRADIENTS

NEEDED = {
    *("cfg", "state_dict", "prompt_learner", "image", "gt", "label"),
    *("text_features_raw", "text_features", "image_features_raw", "patch_tokens", "image_score", "similarity_maps"),
    *("anomaly_map_unsmoothed", "anomaly_map", "image_ce", "loss_parts", "total_loss"),
    *("grad_norms", "grad_ctx_pos", "grad_ctx_neg"),
}
"""What a case holds: what goes into the published code, and what came out of it."""

Quantities = dict[str, list[Tensor]]


@dataclass(frozen=True)
class _Pass:
    """What one forward pass of the case gave."""

    model: AnomalyCLIP
    raw_text: Tensor
    text: Tensor
    features: ImageFeatures
    scores: Scores


def measure(case_file: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """The largest difference of each quantity from the recorded one."""
    case = _read(case_file)
    computed, expected = _compute(case, device, dtype), _expected(case)
    return {name: _largest_difference(name, computed[name], expected[name]) for name in expected}


def _read(case_file: Path) -> dict[str, Any]:
    try:
        case: dict[str, Any] = torch.load(case_file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsUnreadable(f"{case_file}: there is no such file") from error
    except Exception as error:  # torch's unpickler raises a dozen kinds; each means that this is not a case
        raise WeightsUnreadable(f"{case_file}: not a conformance case: {error}") from error
    missing = sorted(NEEDED - set(case)) if isinstance(case, dict) else sorted(NEEDED)
    if missing:
        raise WeightsUnreadable(f"{case_file}: not a conformance case: it has no {', '.join(missing)}")
    return case


def build(case: Mapping[str, Any]) -> AnomalyCLIP:
    """The model of a case."""
    shape = case["cfg"]
    config = AnomalyCLIPConfig.for_clip(
        case["state_dict"],
        image_size=shape["img"],
        dpam_layer=shape["dpam"],
        features_list=tuple(shape["flist"]),
        **describe_prompts(case["prompt_learner"]),
    )
    return AnomalyCLIP.from_weights(config, case["state_dict"], case["prompt_learner"])


def _forward(case: Mapping[str, Any], device: str, dtype: torch.dtype) -> _Pass:
    try:
        model = build(case).to(device=device, dtype=dtype)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch raises one or the other, device by device
        raise ConformanceFailed(f"device {device}, {dtype}: not on this machine: {error}") from error
    raw_text = model.encode_text()
    text = unit_length(raw_text)
    features = model.encode_image(case["image"].to(device=device, dtype=dtype))
    return _Pass(model, raw_text, text, features, model.score(features, text))


def _compute(case: Mapping[str, Any], device: str, dtype: torch.dtype) -> Quantities:
    done = _forward(case, device, dtype)
    parts, image_loss, total = _losses(done, case, device)
    total.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in done.model.prompt_learner.named_parameters() if p.grad is not None}
    norms = [gradients[name].norm() for name in sorted(gradients)]
    return {
        "text_features": [done.raw_text, done.text],
        "image_features": [done.features.image],
        "patch_tokens": done.features.patches,
        "image_scores": [done.scores.probabilities[:, 1]],
        "similarity_maps": done.scores.similarity_maps,
        "anomaly_map_unsmoothed": [done.model.fuse(done.scores.similarity_maps)],
        "anomaly_map": [done.scores.anomaly_map],
        "losses": [image_loss, *parts, total],
        GRADIENTS: [*norms, gradients["ctx_pos"], gradients["ctx_neg"]],
    }


def _losses(done: _Pass, case: Mapping[str, Any], device: str) -> tuple[list[Tensor], Tensor, Tensor]:
    mask, labels = case["gt"].to(device), case["label"].to(device)
    parts = [part for pair in done.scores.similarity_maps for part in losses.anomaly_parts(pair, mask)]
    logits = done.model.image_logits(done.scores.embedding, done.text)
    all_losses = losses.compute(logits, done.scores.similarity_maps, labels, mask, losses.LossWeights())
    return parts, all_losses.classification, all_losses.total


def _expected(case: Mapping[str, Any]) -> Quantities:
    norms = {name: value for name, value in case["grad_norms"].items() if value is not None}
    parts = [torch.tensor(part) for layer in case["loss_parts"] for part in layer]
    return {
        "text_features": [case["text_features_raw"], case["text_features"][0]],
        "image_features": [case["image_features_raw"]],
        "patch_tokens": list(case["patch_tokens"]),
        "image_scores": [case["image_score"]],
        "similarity_maps": [pair.permute(0, 3, 1, 2) for pair in case["similarity_maps"]],
        "anomaly_map_unsmoothed": [case["anomaly_map_unsmoothed"]],
        "anomaly_map": [case["anomaly_map"]],
        "losses": [case["image_ce"], *parts, case["total_loss"]],
        GRADIENTS: [
            *(torch.tensor(norms[name]) for name in sorted(norms)),
            case["grad_ctx_pos"],
            case["grad_ctx_neg"],
        ],
    }


def _largest_difference(name: str, computed: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    if [tuple(tensor.shape) for tensor in computed] != [tuple(tensor.shape) for tensor in expected]:
        raise ConformanceFailed(f"{name}: the case holds other shapes than the model computes")
    return max(
        _relative(ours.detach().cpu().double(), theirs.double())
        for ours, theirs in zip(computed, expected, strict=True)
    )


def _relative(ours: Tensor, theirs: Tensor) -> float:
    difference: float = ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item()
    # max() would pass over a NaN in silence
    return difference if math.isfinite(difference) else math.inf

"""The losses AnomalyCLIP's prompts are learned with; shapes as in anomalyclip.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHING = 1e-5  # of the focal loss: keeps log(p) finite
DICE_SMOOTHING = 1.0


def focal(pair: Tensor, mask: Tensor) -> Tensor:
    """Mean of -(1 - p)^2 log p over all pixels; pair (B, 2, S, S) are probabilities, mask (B, S, S) is 0 or 1."""
    target = torch.stack([1 - mask, mask], dim=1).clamp(SMOOTHING, 1 - SMOOTHING)  # (B, 2, S, S)
    p = (target * pair).sum(dim=1) + SMOOTHING  # (B, S, S)
    return -((1 - p) ** 2 * p.log()).mean()


def dice(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - the mean overlap of (B, S, S) maps."""
    p, t = prediction.flatten(1), target.flatten(1)  # (B, S * S)
    overlap = (2 * (p * t).sum(dim=1) + DICE_SMOOTHING) / (p.sum(dim=1) + t.sum(dim=1) + DICE_SMOOTHING)
    return 1 - overlap.mean()


def anomaly_parts(pair: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Focal, dice of the abnormal map, dice of the normal map for one tapped block."""
    return focal(pair, mask), dice(pair[:, 1], mask), dice(pair[:, 0], 1 - mask)


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Which prompt does each image belong to? logits (B, 2)."""
    return F.cross_entropy(logits, labels)


def contrastive(logits: Tensor, labels: Tensor) -> Tensor:
    """Which images does each prompt belong to? The other direction of CLIP's symmetric loss; logits (B, 2).

    Our own definition: the AD-CLIP card names a contrastive loss and its weight and gives no formula. A prompt has
    several images in a batch: the probability of each of them counts equally (Khosla et al., "Supervised Contrastive
    Learning", 2020). A prompt without an image in the batch does not count.
    """
    over_images = logits.log_softmax(dim=0)  # (B, 2)
    members = F.one_hot(labels, 2).to(logits.dtype)  # (B, 2)
    counts = members.sum(dim=0)  # (2,)
    per_prompt = -(over_images * members).sum(dim=0) / counts.clamp(min=1)
    return per_prompt.sum() / (counts > 0).sum()


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts; the default is the published sum."""

    classification: float = 1.0
    anomaly: float = 4.0
    contrastive: float = 0.0


@dataclass(frozen=True)
class Losses:
    """The losses of one batch, as scalars that carry gradients."""

    classification: Tensor
    anomaly: Tensor
    contrastive: Tensor
    total: Tensor


def compute(logits: Tensor, maps: Sequence[Tensor], labels: Tensor, masks: Tensor, weights: LossWeights) -> Losses:
    """All losses; maps and masks hold the images whose mask is known (maybe none), logits and labels hold all."""
    pixel = logits.new_zeros(())
    if len(masks):
        pixel = torch.stack([sum_parts(pair, masks) for pair in maps]).sum()
    image, contrast = classification(logits, labels), contrastive(logits, labels)
    total = weights.classification * image + weights.anomaly * pixel + weights.contrastive * contrast
    return Losses(image, pixel, contrast, total)


def sum_parts(pair: Tensor, mask: Tensor) -> Tensor:
    """Focal plus both dice losses of one tapped block."""
    return torch.stack(anomaly_parts(pair, mask)).sum()

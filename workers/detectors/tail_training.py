"""Training of the tails: each on the folds that are not its own, from kept activations at stride 16."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from workers.detectors.efficientnet_lite import build
from workers.detectors.tail import Tail, Tails, parted
from workers.detectors.tail_configuration import TailConfiguration
from workers.detectors.telling import Told, within

WARM_UP = 0.2  # of all steps
JUDGE_FASTER = 3.0  # than the blocks: it begins from nothing
SMOOTHING = 0.05  # of the labels: what is learned by heart is not said with more and more certainty
CHUNK = 32  # images at once where nothing is learned
TURNINGS = 8  # a square mirrored and turned
DISTURBED = 0.25  # of the images; of half of them a tail learned less about plain ones (AUROC .970 instead of .977)


def train(
    sources: list[Tensor],
    is_anomaly: Tensor,
    folds: Tensor,
    configuration: TailConfiguration,
    seed: int,
    told: Told | None = None,
) -> list[Tail]:
    """A tail for each fold, which did not learn from it; from images of fold -1 all do.

    sources: what `entered` gave, of the images and perhaps of the same images disturbed: some, by lot, are seen so.
    """
    tails = []
    for member in range(configuration.folds):
        places = torch.nonzero(folds != member)[:, 0]
        here = within(told, member / configuration.folds, (member + 1) / configuration.folds)
        tails.append(trained(sources, is_anomaly, places, configuration, seed * 1009 + member, here))
    return tails


def trained(
    sources: list[Tensor], is_anomaly: Tensor, places: Tensor, configuration: TailConfiguration, seed: int, told: Told
) -> Tail:
    torch.manual_seed(seed)
    tail = begun(configuration)
    count = len(places) // min(configuration.batch_size, len(places))  # batches an epoch
    steps = configuration.steps(count)
    optimiser = optimiser_of(tail, configuration)
    rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps, pct_start=WARM_UP)
    rarity = (1 / is_anomaly[places].float().mean() - 1).clamp(0.1, 10)
    for step in range(steps):
        if step % count == 0:
            order = torch.randperm(len(places)).tensor_split(count)
        images = places[order[step % count]]
        logits = tail(turned_by_lot(sources, images))
        wanted = is_anomaly[images] * (1 - 2 * SMOOTHING) + SMOOTHING
        loss = cross_entropy(logits, wanted, pos_weight=rarity)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        told((step + 1) / steps)
    return tail.eval().requires_grad_(False)


def begun(configuration: TailConfiguration) -> Tail:
    """As the published weights are, ready to learn."""
    tail = Tail(parted(build())[1], configuration.dropout).train()
    for one in tail.learning():
        one.requires_grad_(True)
    return tail


def turned_by_lot(sources: list[Tensor], images: Tensor) -> Tensor:
    """(B, h, w, channels), each image mirrored and turned in a way of its own."""
    drawn = (torch.rand(len(images)) < DISTURBED if len(sources) > 1 else torch.zeros(len(images))).long().tolist()
    ways = torch.randint(TURNINGS, (len(images),)).tolist()
    seen = [turned(sources[source][image], way) for source, image, way in zip(drawn, images, ways, strict=True)]
    return torch.stack(seen).float()


def turned(grid: Tensor, way: int) -> Tensor:
    """(h, w, channels): of the turned image they would be nearly these, and this costs no forward pass."""
    square = grid.transpose(0, 1) if way & 4 else grid
    return square.flip([axis for axis in (0, 1) if way & (1 << axis)])


def optimiser_of(tail: Tail, configuration: TailConfiguration) -> torch.optim.Optimizer:
    """Weights decay, offsets do not."""
    rate, decay, blocks = configuration.learning_rate, configuration.weight_decay, tail.learning()
    return torch.optim.AdamW(
        [
            {"params": [one for one in blocks if one.ndim > 1], "weight_decay": decay, "lr": rate},
            {"params": [one for one in blocks if one.ndim == 1], "weight_decay": 0.0, "lr": rate},
            {"params": list(tail.judge.parameters()), "weight_decay": decay, "lr": JUDGE_FASTER * rate},
        ]
    )


def entered(entry: nn.Sequential, activations: Tensor) -> Tensor:
    """(images, 112, h, w) to what a tail takes, in half precision: they fill the memory."""
    tails = Tails(entry, [])
    with torch.inference_mode():
        parts = [tails.entered(chunk.float()).half() for chunk in torch.split(activations, CHUNK)]
    return torch.cat(parts).clone()


def out_of_fold(tails: list[Tail], source: Tensor, folds: Tensor) -> Tensor:
    """(images,) logits by the tail that did not learn from the image; of fold -1 the tails' mean."""
    logits = torch.zeros(len(folds))
    with torch.inference_mode():
        for member, tail in enumerate(tails):
            for places in torch.split(torch.nonzero((folds == member) | (folds < 0))[:, 0], CHUNK):
                share = torch.where(folds[places] < 0, 1 / len(tails), 1.0)
                logits[places] += share * tail(source[places].float())
    return logits

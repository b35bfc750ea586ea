"""Training of the head: all members at once, each on the folds that are not its own.

Losses: cross-entropy of the image, weighed for the rarer class; and where it is known where an image is defective,
cross-entropy of its patches and the Dice loss (Milletari et al., "V-Net", 3DV 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from workers.detectors.head import Head, Logits, head_of
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.head_features import MIRRORINGS, Lessons
from workers.detectors.telling import Told

WARM_UP = 0.15  # of all steps
CHUNK = 64  # images at once where nothing is learned
DISTURBED = 0.25  # of the steps


def train(
    lessons: Lessons,
    is_anomaly: Tensor,
    folds: Tensor,
    configuration: HeadConfiguration,
    seed: int,
    disturbed: Lessons | None = None,
    told: Told | None = None,
) -> Head:
    """What reads features along these lessons' directions.

    folds: (images, rounds) the fold that each image is in, in each round; -1 where all members may learn from it.
    disturbed: the very images, each disturbed: some steps, by lot, learn from them.
    """
    torch.manual_seed(seed)
    head = head_of(configuration, [stage.shape[1] for stage in lessons.stages]).to(memory_format=torch.channels_last)
    learns = learners(folds, configuration)
    rarity = (1 / is_anomaly.float().mean() - 1).clamp(0.1, 10)
    count = len(is_anomaly)
    batch = min(configuration.batch_size, count)
    steps = max(configuration.least_steps, configuration.epochs * (count // batch))
    optimiser = optimiser_of(head, configuration)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, configuration.learning_rate, total_steps=steps, pct_start=WARM_UP
    )
    head.train()
    for step in range(steps):
        images = drawn(step, count, batch, seed)
        source = disturbed if disturbed is not None and float(torch.rand(())) < DISTURBED else lessons
        stages, covered = source.batch(images, MIRRORINGS[int(torch.randint(len(MIRRORINGS), ()))])
        logits = head.of_standardised(stages)
        truth = is_anomaly[images].float()
        loss = image_loss(logits, truth, learns[images], rarity)
        known = lessons.localised[images]
        loss = loss + configuration.mask_weight * patch_loss(logits, covered, learns[images] & known[:, None])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if told is not None:
            told((step + 1) / steps)
    return head.eval()


def learners(folds: Tensor, configuration: HeadConfiguration) -> Tensor:
    """(images, members), whether the member may learn from the image; in each round a fold has a member of its own."""
    places = torch.arange(configuration.members)
    learns = torch.ones(len(folds), configuration.members, dtype=torch.bool)
    for number, fold in enumerate(folds.T):
        learns &= (places // configuration.folds != number) | (places % configuration.folds != fold[:, None])
    return learns


def drawn(step: int, count: int, batch: int, seed: int) -> Tensor:
    """The images of this step: each once an epoch, in an order of its own in each."""
    epoch, place = divmod(step, count // batch)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
    return order[place * batch : (place + 1) * batch]


def optimiser_of(head: Head, configuration: HeadConfiguration) -> torch.optim.Optimizer:
    """Weights decay, offsets do not."""
    weights = [one for one in head.parameters() if one.ndim > 1]
    offsets = [one for one in head.parameters() if one.ndim == 1]
    return torch.optim.AdamW(
        [{"params": weights, "weight_decay": configuration.weight_decay}, {"params": offsets, "weight_decay": 0.0}],
        lr=configuration.learning_rate,
        fused=True,  # a step of so small a network is a tenth shorter
    )


def image_loss(logits: Logits, truth: Tensor, learns: Tensor, rarity: Tensor) -> Tensor:
    """Summed over the members: what one learns is nothing to the others."""
    wanted = truth[:, None].expand_as(logits.image)
    losses = cross_entropy(logits.image, wanted, reduction="none", pos_weight=rarity)
    return shared(losses, learns) / 2


def patch_loss(logits: Logits, covered: Tensor, learns: Tensor) -> Tensor:
    wanted = covered[:, None].expand_as(logits.patches)
    losses = cross_entropy(logits.patches, wanted, reduction="none", pos_weight=torch.tensor(2.0)).mean((2, 3))
    seen = logits.patches.sigmoid() * learns[:, :, None, None]
    meant = wanted * learns[:, :, None, None]
    both, each = (seen * meant).sum((0, 2, 3)), (seen + meant).sum((0, 2, 3))
    dice = torch.where(learns.any(0), 1 - (2 * both + 1) / (each + 1), 0)
    return shared(losses, learns) + dice.sum()


def shared(losses: Tensor, learns: Tensor) -> Tensor:
    """The mean over a member's images, summed over the members; (B, members) both."""
    return ((losses * learns).sum(0) / learns.sum(0).clamp_min(1)).sum()


def out_of_fold(head: Head, lessons: Lessons, folds: Tensor, configuration: HeadConfiguration) -> Tensor:
    """(images,) image logits, the mean of the members that did not learn from the image; of the others, of all."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(folds), CHUNK):
            images = torch.arange(start, min(start + CHUNK, len(folds)))
            parts.append(head.of_standardised(lessons.batch(images)[0]).image)
    logits, learned = torch.cat(parts), learners(folds, configuration)  # (images, members)
    asked = ~learned | learned.all(1, keepdim=True)
    return (logits * asked).sum(1) / asked.sum(1)

"""Learning AnomalyCLIP's prompts: the backbone stays frozen, only the text side is learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from storage.errors import SettingsError, TeachingFailed
from workers.detectors import anomalyclip_losses, augmentation, training_checkpoint, training_curves
from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig, ImageFeatures, unit_length
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector, ClipFile, Learned
from workers.detectors.anomalyclip_images import preprocess, preprocess_mask
from workers.detectors.anomalyclip_losses import Losses, LossWeights
from workers.detectors.augmentation import Augmentation
from workers.detectors.detector import Image
from workers.detectors.telling import Told, within
from workers.detectors.training_checkpoint import EpochRecord

CURVES_FILE, MODEL_FOLDER = "curves.png", "model"


class Sample(Protocol):
    """One labelled image. A normal image needs no mask; an anomalous one without teaches the image score alone."""

    @property
    def image(self) -> Image:
        """Asked for only where its features are not known."""
        ...

    @property
    def anomalous(self) -> bool: ...
    @property
    def mask(self) -> NDArray[np.uint8] | None:
        """As large as the image."""
        ...

    def identity(self) -> Iterator[bytes | memoryview]:
        """Which sample it is: differs where image, label or mask do."""
        ...


@dataclass(frozen=True)
class TrainingSample:
    """A sample in memory."""

    image: Image
    anomalous: bool
    mask: NDArray[np.uint8] | None = None

    def identity(self) -> Iterator[bytes | memoryview]:
        yield f"{int(self.anomalous)} {described(self.image)} {described(self.mask)}\n".encode()
        for pixels in (self.image, self.mask):
            if pixels is not None:
                yield np.ascontiguousarray(pixels).data


@dataclass(frozen=True)
class Recipe:
    """How prompts are learned; the default is AnomalyCLIP's published recipe."""

    epochs: int = 15
    batch_size: int = 8
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    seed: int = 111
    weights: LossWeights = field(default_factory=LossWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)
    feature_memory_bytes: int = 2 << 30
    """Without augmentation, image features that fit in here are computed once instead of once an epoch."""

    def __post_init__(self) -> None:
        rules = [
            (self.epochs < 1, f"epochs: given {self.epochs}, allowed from 1"),
            (self.batch_size < 1, f"batch_size: given {self.batch_size}, allowed from 1"),
            (not self.learning_rate > 0, f"learning_rate: given {self.learning_rate}, allowed above 0"),
            (self.optimiser not in ("adam", "adamw"), f"optimiser: given {self.optimiser}, allowed adam, adamw"),
        ]
        problems = [f"recipe.{problem}" for wrong, problem in rules if wrong]
        if problems:
            raise SettingsError(problems)

    def build_optimiser(self, parameters: Iterator[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser this recipe names."""
        kind = torch.optim.AdamW if self.optimiser == "adamw" else torch.optim.Adam
        return kind(parameters, lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay)


AD_CLIP = Recipe(
    epochs=200,
    optimiser="adamw",
    learning_rate=1e-4,
    betas=(0.9, 0.999),
    weight_decay=0.01,
    weights=LossWeights(classification=1.0, anomaly=1.0, contrastive=1.0),
    augmentation=augmentation.AD_CLIP,
)
"""The AD-CLIP model card's recipe (200 to 500 epochs). Its DPAM depth is a choice of AnomalyCLIPConfig: 10 to 13 for
ViT-B, 20 to 24 for ViT-L."""

KnownFeatures = Callable[[int], ImageFeatures]
"""Of the sample at this place, for who has looked at it already: the same each time."""

EpochReport = Callable[[EpochRecord, int], None]
"""Called after each epoch with its record and the number of epochs in all."""


def _no_report(record: EpochRecord, epochs: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class TrainingOutcome:
    """A finished training."""

    detector: AnomalyCLIPDetector
    sha256: str
    history: tuple[EpochRecord, ...]


def train(
    model: AnomalyCLIP,
    clip: ClipFile,
    samples: Sequence[TrainingSample],
    recipe: Recipe,
    folder: Path,
    held_out: Sequence[TrainingSample] = (),
    report: EpochReport = _no_report,
) -> TrainingOutcome:
    """Learn the prompts; write checkpoint and curves into the folder, and the model into its own folder in there.

    A training that was interrupted leaves the curves of its finished epochs. It goes on from the last of them when
    called again, and ends at the weights it would have ended at.
    """
    finished: list[EpochRecord] = []  # in this call

    def note(record: EpochRecord, epochs: int) -> None:
        finished.append(record)
        report(record, epochs)

    try:
        history = learn_prompts(model, samples, recipe, folder, held_out, note)
    except BaseException:  # Ctrl-C and cancelling too
        if finished:
            training_curves.draw(training_checkpoint.history(folder), folder / CURVES_FILE)
        raise
    training_curves.draw(history, folder / CURVES_FILE)
    training = told_of(recipe, len(samples), len(held_out), history)
    detector = AnomalyCLIPDetector(model, clip, Learned(training=training))
    return TrainingOutcome(detector, detector.save(folder / MODEL_FOLDER), tuple(history))


def told_of(recipe: Recipe, samples: int, held_out: int, history: Sequence[EpochRecord]) -> dict[str, object]:
    """How the prompts were learned, for the record that a model keeps."""
    return {"recipe": _plain(recipe), "samples": samples, "held_out": held_out, "final": asdict(history[-1])}


def learn_prompts(
    model: AnomalyCLIP,
    samples: Sequence[Sample],
    recipe: Recipe,
    checkpoint_folder: Path,
    held_out: Sequence[Sample] = (),
    report: EpochReport = _no_report,
    told: Told | None = None,
    features: KnownFeatures | None = None,
) -> list[EpochRecord]:
    """Learn the model's prompts in place; return the history of all epochs. told: after each step.

    features: of the samples, then no image is looked at. A recipe that augments must look at each image it changed.
    """
    _check(samples)
    optimiser = recipe.build_optimiser(model.prompt_learner.parameters())
    terms = {
        "recipe": {**_plain(recipe), "epochs": None},
        "model": model.config.to_dict(),
        "samples": len(samples),
        "SHA-256 of images, labels and masks": _sha256(samples),
    }
    history = training_checkpoint.resume(checkpoint_folder, model.prompt_learner, optimiser, terms)
    batches = _Batches(model, samples, recipe, features)
    judged = _Batches(model, held_out, Recipe(feature_memory_bytes=recipe.feature_memory_bytes))
    for epoch in range(len(history) + 1, recipe.epochs + 1):
        here = within(told, (epoch - 1) / recipe.epochs, epoch / recipe.epochs)
        values, counts = [], []
        for batch in batches.of(epoch):
            values.append(_step(model, optimiser, batch, recipe, epoch))
            counts.append(len(batch.labels))
            here(sum(counts) / len(samples))
        classification, anomaly, contrastive, total = np.average(values, axis=0, weights=counts).tolist()
        record = EpochRecord(epoch, classification, anomaly, contrastive, total, _auroc(model, judged))
        history.append(record)
        training_checkpoint.save(checkpoint_folder, model.prompt_learner, optimiser, history, terms)
        report(record, recipe.epochs)
    return history


@dataclass(frozen=True)
class _Batch:
    features: ImageFeatures
    labels: Tensor  # (B,)
    masks: Tensor  # (B, S, S); of an image whose mask is not known: zeros
    masked: Tensor  # (B,): whose mask is known


class _Batches:
    """The samples as batches of image features; which and in which order depends on seed and epoch alone."""

    def __init__(
        self, model: AnomalyCLIP, samples: Sequence[Sample], recipe: Recipe, features: KnownFeatures | None = None
    ) -> None:
        self.model, self.samples, self.recipe = model, samples, recipe
        self.device = model.text_projection.device
        self.features = None if recipe.augmentation.changes else features
        self.kinds = {sample.anomalous for sample in samples}  # once: a sequence may read its samples when asked
        self.kept: list[_Batch] = []
        if (
            not recipe.augmentation.changes
            and len(samples) * feature_bytes(model.config) <= recipe.feature_memory_bytes
        ):
            # One at a time, so that a resumed training computes the same numbers.
            self.kept = [self._batch([index], epoch=0) for index in range(len(samples))]

    def of(self, epoch: int) -> Iterator[_Batch]:
        """The shuffled batches of an epoch."""
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.samples)).tolist()
        for start in range(0, len(order), self.recipe.batch_size):
            chosen = order[start : start + self.recipe.batch_size]
            yield _join([self.kept[index] for index in chosen]) if self.kept else self._batch(chosen, epoch)

    def _batch(self, chosen: Sequence[int], epoch: int) -> _Batch:
        if self.features is not None:
            return _join([self._known(index, self.features(index)) for index in chosen])
        samples, config = [self._changed(index, epoch) for index in chosen], self.model.config
        with torch.no_grad():
            seen = self.model.encode_image(preprocess([sample.image for sample in samples], config).to(self.device))
        return self._labelled(seen, samples)

    def _known(self, index: int, features: ImageFeatures) -> _Batch:
        sample = self.samples[index]
        _check_label(sample, index)
        return self._labelled(features.to(self.device), [sample])

    def _labelled(self, features: ImageFeatures, samples: Sequence[Sample]) -> _Batch:
        masks = [sample.mask for sample in samples]
        known = [mask is not None or not sample.anomalous for mask, sample in zip(masks, samples, strict=True)]
        return _Batch(
            features,
            torch.tensor([int(sample.anomalous) for sample in samples], device=self.device),
            torch.stack([_square(mask, self.model.config.image_size) for mask in masks]).to(self.device),
            torch.tensor(known, device=self.device),
        )

    def _changed(self, index: int, epoch: int) -> Sample:
        sample = self.samples[index]
        _check_label(sample, index)
        _check_size(sample, index)
        if not self.recipe.augmentation.changes:
            return sample
        draw = np.random.default_rng([self.recipe.seed, epoch, index])
        image, mask = self.recipe.augmentation.apply(sample.image, sample.mask, draw)
        return TrainingSample(image, sample.anomalous, mask)


def feature_bytes(config: AnomalyCLIPConfig) -> int:
    """What the kept features and the mask of one image take."""
    tokens = 1 + len(config.features_list) * (1 + config.grid**2)
    return 4 * (tokens * config.embedding_width + config.image_size**2)


def _join(batches: Sequence[_Batch]) -> _Batch:
    layers = zip(*(batch.features.patches for batch in batches), strict=True)
    features = ImageFeatures(
        torch.cat([batch.features.image for batch in batches]), [torch.cat(layer) for layer in layers]
    )
    parts = ((batch.labels, batch.masks, batch.masked) for batch in batches)
    labels, masks, masked = (torch.cat(part) for part in zip(*parts, strict=True))
    return _Batch(features, labels, masks, masked)


def _square(mask: NDArray[np.uint8] | None, size: int) -> Tensor:
    return torch.zeros(size, size) if mask is None else preprocess_mask(mask, size)


def _step(
    model: AnomalyCLIP, optimiser: torch.optim.Optimizer, batch: _Batch, recipe: Recipe, epoch: int
) -> list[float]:
    losses = _losses(model, batch, recipe.weights)
    if not losses.total.isfinite():
        raise TeachingFailed(
            f"epoch {epoch}: the loss is no number any more; lower recipe.learning_rate ({recipe.learning_rate})"
        )
    optimiser.zero_grad()
    losses.total.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    optimiser.step()
    values = (losses.classification, losses.anomaly, losses.contrastive, losses.total)
    return [value.item() for value in values]


def _losses(model: AnomalyCLIP, batch: _Batch, weights: LossWeights) -> Losses:
    text = model.text_features()
    logits = model.image_logits(unit_length(batch.features.image), text)
    maps = [model.similarity_map(tokens[batch.masked], text) for tokens in batch.features.patches]
    return anomalyclip_losses.compute(logits, maps, batch.labels, batch.masks[batch.masked], weights)


def _auroc(model: AnomalyCLIP, judged: _Batches) -> float | None:
    """How well the image score tells the held-out parts apart; None where there are not both kinds."""
    if len(judged.kinds) < 2:
        return None
    with torch.no_grad():
        text = model.text_features()
        batches = list(judged.of(epoch=0))
        logits = torch.cat([model.image_logits(unit_length(batch.features.image), text) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    return float(roc_auc_score(labels.cpu().numpy(), logits.softmax(dim=1)[:, 1].cpu().numpy()))


def _sha256(samples: Sequence[Sample]) -> str:
    """Which samples these are, in their order: the batches of an epoch are drawn by place."""
    digest = hashlib.sha256()
    for sample in samples:
        for told in sample.identity():
            digest.update(told)
    return digest.hexdigest()


def described(pixels: Image | None) -> str:
    """As bytes alone do not tell 2 x 6 from 3 x 4, nor where one sample ends."""
    return "none" if pixels is None else f"{pixels.dtype.str} {pixels.shape}"


def _check(samples: Sequence[Sample]) -> None:
    anomalous = sum(sample.anomalous for sample in samples)
    if anomalous in (0, len(samples)):
        raise TeachingFailed(
            f"given {len(samples) - anomalous} normal and {anomalous} anomalous images; prompts need both kinds"
        )


def _check_label(sample: Sample, index: int) -> None:
    if not sample.anomalous and sample.mask is not None and sample.mask.any():
        marked = int((sample.mask > 0).sum())
        raise TeachingFailed(f"sample {index}: labelled normal, but its mask marks {marked} pixels")


def _check_size(sample: Sample, index: int) -> None:
    mask, size = sample.mask, sample.image.shape[:2]
    if mask is not None and mask.shape != size:
        raise TeachingFailed(f"sample {index}: given a mask of {mask.shape} for an image of {size}; they must be equal")


def _plain(recipe: Recipe) -> dict[str, object]:
    """The recipe as values that YAML and JSON write and read back the same."""
    plain: dict[str, object] = json.loads(json.dumps(asdict(recipe)))
    return plain

"""PatchCore taught from known-good images: a bank of patches, with a Gaussian beside it.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022 (the bank and its coreset);
Rippel et al., "Modeling the Distribution of Normal Data in Pre-Trained Deep Features", ICPR 2021 (the Gaussian).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from storage.code_version import code_version
from storage.errors import InspectionFailed, ModelError, ScoreInvalid, TeachingFailed
from workers.detectors import artefact
from workers.detectors.artefact import Artefact
from workers.detectors.calibration import anomaly_score, calibrate, score_of
from workers.detectors.detector import Calibration, Image, Prediction
from workers.detectors.efficientnet_lite import PREPROCESSING, WEIGHTS_SHA256, EfficientNetLite, Features
from workers.detectors.held_out import divide, named

CHUNK = 8  # images in memory at once while teaching
MOST_PATCHES = 60_000  # the coreset is chosen among at most so many, drawn at random beyond that
NG_THRESHOLD = 0.5

Progress = Callable[[int], None]


@dataclass(frozen=True)
class PatchCoreConfiguration:
    """What decides how a PatchCore is taught and scores."""

    image_size: int = 256
    target_false_reject_rate: float = 0.05
    review_share: float = 0.05
    held_out_share: float = 0.2
    bank_size: int = 4000
    projection: int = 32
    worst_share: float = 0.05  # of the patches: their mean is the image's score
    gaussian_weight: float = 0.75  # 0 leaves the Gaussian out of the score
    gaussian_pool: int = 5
    shrinkage: float = 0.01  # of the covariance, towards its mean variance


class Patches(NamedTuple):
    """One image as the two scorers see it: (patches, channels), row by row of the stride-16 grid."""

    fine: Tensor  # strides 8 and 16, for the bank
    coarse: Tensor  # strides 16 and 32, for the Gaussian
    embedding: Tensor  # the means over the image of strides 16 and 32


class PatchCore:
    """A bank of known-good patches and their Gaussian. Each image is scored alone: batches do not change a score."""

    name = "patchcore"

    def __init__(
        self,
        configuration: PatchCoreConfiguration,
        tensors: dict[str, Tensor],
        calibration: Calibration,
        created_at: str,
        backbone: EfficientNetLite,
    ) -> None:
        self.configuration, self.calibration, self.created_at = configuration, calibration, created_at
        self.backbone, self.image_size = backbone, configuration.image_size
        self.tensors = tensors
        self.scorer = Scorer(configuration, {name: tensor.to(backbone.device) for name, tensor in tensors.items()})
        self.version = artefact.weights_sha256(tensors)[:12]

    @property
    def ng_threshold(self) -> float:
        return NG_THRESHOLD

    @property
    def ok_threshold(self) -> float:
        return score_of(self.calibration, self.calibration.raw_ok_threshold)

    def predict(self, images: Sequence[Image]) -> list[Prediction | InspectionFailed]:
        return [self.answer(image) for image in images]

    def answer(self, image: Image) -> Prediction | InspectionFailed:
        """An image that cannot be scored is that part's failure alone."""
        try:
            return self.score(image)
        except InspectionFailed as error:
            return error

    def score(self, image: Image) -> Prediction:
        features = self.backbone.features(image)
        patches = split(features, self.configuration)
        raw_map = self.scorer.raw_map(patches).cpu().numpy().astype(np.float64)
        raw = worst_mean(raw_map, self.configuration.worst_share)
        if not np.isfinite(raw_map).all():
            raise ScoreInvalid(f"{self.name} {self.version} gave a raw score that is not a number: {raw}")
        rows, columns = features.s16.shape[1:]
        return Prediction(
            anomaly_score=score_of(self.calibration, raw),
            raw_score=raw,
            anomaly_map=anomaly_score(self.calibration, raw_map).astype(np.float32).reshape(rows, columns),
            embedding=patches.embedding.cpu().numpy(),
        )

    def save(self, folder: Path) -> str:
        return artefact.write(
            Artefact(
                detector=self.name,
                configuration=asdict(self.configuration),
                preprocessing=PREPROCESSING | {"image_size": self.image_size},
                backbone={"name": "tf_efficientnet_lite0", "sha256": WEIGHTS_SHA256},
                calibration=self.calibration,
                thresholds={"ok": self.ok_threshold, "ng": self.ng_threshold},
                code_version=code_version(),
                created_at=self.created_at,
                tensors=self.tensors,
            ),
            folder,
        )

    @classmethod
    def restore(cls, saved: Artefact, device: str = "cpu") -> PatchCore:
        """The detector that was saved: the same scores to the last bit on the same machine."""
        if saved.backbone["sha256"] != WEIGHTS_SHA256:
            raise ModelError(f"the model needs backbone {saved.backbone['sha256']}; this version has {WEIGHTS_SHA256}")
        configuration = PatchCoreConfiguration(**saved.configuration)
        backbone = EfficientNetLite(configuration.image_size, device)
        return cls(configuration, dict(saved.tensors), saved.calibration, saved.created_at, backbone)


class Scorer:
    """Patches to a raw anomaly map: how far from the bank, and how far out in the Gaussian."""

    def __init__(self, configuration: PatchCoreConfiguration, tensors: dict[str, Tensor]) -> None:
        self.weight = configuration.gaussian_weight
        self.centre, self.scale, self.bank = tensors["centre"], tensors["scale"], tensors["bank"]
        self.bank_norms = self.bank.square().sum(1)
        self.mean, self.whitening = tensors["mean"], tensors["whitening"]
        self.fusion = tensors["fusion"]

    def raw_map(self, patches: Patches) -> Tensor:
        """Both distances in standard deviations of the held-out good images' scores, weighed into one."""
        (near_mean, near_deviation), (far_mean, far_deviation) = self.fusion.tolist()
        near: Tensor = (self.near(patches.fine) - near_mean) / near_deviation
        if self.weight == 0:
            return near
        far: Tensor = (self.far(patches.coarse) - far_mean) / far_deviation
        fused: Tensor = (near + self.weight * far) / (1 + self.weight)
        return fused

    def near(self, fine: Tensor) -> Tensor:
        """The distance of each patch to the nearest in the bank."""
        patches = (fine - self.centre) / self.scale
        # |p - b|^2 = |p|^2 - 2 p.b + |b|^2: one matrix product, with the bank's norms known beforehand.
        squares = torch.addmm(self.bank_norms, patches, self.bank.T, alpha=-2)  # (patches, bank)
        return (squares.amin(1) + patches.square().sum(1)).clamp_min(0).sqrt()

    def far(self, coarse: Tensor) -> Tensor:
        """The Mahalanobis distance of each patch."""
        return ((coarse - self.mean) @ self.whitening).square().sum(1).sqrt()


def split(features: Features, configuration: PatchCoreConfiguration) -> Patches:
    """The two views of an image's features, both on the stride-16 grid."""
    pool = configuration.gaussian_pool
    grid = features.s16.shape[1:]
    s8 = avg_pool2d(features.s8[None], 2)
    fine = torch.cat([s8, features.s16[None]], 1)
    around16, around32 = (
        avg_pool2d(stage[None], pool, 1, pool // 2, count_include_pad=False) for stage in (features.s16, features.s32)
    )
    coarse = torch.cat([around16, interpolate(around32, grid, mode="bilinear", align_corners=False)], 1)
    embedding = torch.cat([features.s16.mean((1, 2)), features.s32.mean((1, 2))])
    return Patches(rows(fine), rows(coarse), embedding)


def rows(stage: Tensor) -> Tensor:
    """(1, channels, h, w) to (h * w, channels)."""
    return stage[0].flatten(1).T.contiguous()


def worst_mean(raw_map: NDArray[np.float64], share: float) -> float:
    """The mean of the worst patches: steadier than the single worst one."""
    count = max(1, int(share * raw_map.size))
    return float(np.sort(raw_map)[-count:].mean())


def teach(
    images: Iterable[Image],
    *,
    groups: Sequence[str] | None = None,
    configuration: PatchCoreConfiguration | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PatchCore:
    """Learn what good looks like; a share of the parts is held out, so that the thresholds are honest.

    groups: one for each image; images of one part have the same. Without them each image shows a part of its own.
    """
    configuration = configuration or PatchCoreConfiguration()
    backbone = EfficientNetLite(configuration.image_size)
    with one_thread_an_operation() as threads:
        patches = list(watched(images, backbone, configuration, progress, threads))
        division = divide(
            named(len(patches), groups), configuration.held_out_share, configuration.target_false_reject_rate, seed
        )
        kept, held_out = ([patches[place] for place in places] for places in (division.kept, division.held_out))
        tensors = learn(kept, configuration, seed)
        tensors["fusion"] = fusion(held_out, tensors, configuration)
        scorer = Scorer(configuration, tensors)
        raw_maps = [scorer.raw_map(one).numpy().astype(np.float64) for one in held_out]
    scores = [worst_mean(raw_map, configuration.worst_share) for raw_map in raw_maps]
    calibration = calibrate(
        scores, configuration.target_false_reject_rate, configuration.review_share, division.held_out_groups
    )
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    return PatchCore(configuration, tensors, calibration, created_at, backbone)


@contextmanager
def one_thread_an_operation() -> Iterator[int]:
    """How many threads there were. With several in one operation the bits would depend on their number, and on a busy
    machine each of thousands of small operations waits for the slowest thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def watched(
    images: Iterable[Image],
    backbone: EfficientNetLite,
    configuration: PatchCoreConfiguration,
    progress: Progress | None,
    threads: int,
) -> Iterator[Patches]:
    """An image on each thread. Features are kept, images are not: 300 camera frames are more than a gigabyte."""
    numbered = enumerate(images, start=1)

    def extract(one: tuple[int, Image]) -> Patches:
        number, image = one
        try:
            patches = split(backbone.features(image), configuration)
        except InspectionFailed as error:
            raise TeachingFailed(f"known-good image {number}: {error}") from error
        # Normal tensors: what was made in inference mode could not be used in place while the bank is chosen.
        return Patches(*(stage.clone() for stage in patches))

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while chunk := list(islice(numbered, CHUNK)):
            yield from pool.map(extract, chunk)
            if progress is not None:
                progress(chunk[-1][0])


def learn(patches: Sequence[Patches], configuration: PatchCoreConfiguration, seed: int) -> dict[str, Tensor]:
    """The bank of standardised patches, and the Gaussian."""
    fine = torch.cat([one.fine for one in patches])  # (images * patches, channels)
    centre, scale = fine.mean(0), fine.std(0).clamp_min(1e-6)
    generator = torch.Generator().manual_seed(seed)
    if len(fine) > MOST_PATCHES:
        fine = fine[torch.randperm(len(fine), generator=generator)[:MOST_PATCHES]]
    fine = (fine - centre) / scale
    bank = fine[coreset(fine, configuration.bank_size, configuration.projection, generator)]
    mean, whitening = gaussian([one.coarse for one in patches], configuration.shrinkage)
    return {"centre": centre, "scale": scale, "bank": bank, "mean": mean, "whitening": whitening}


def coreset(patches: Tensor, size: int, projection: int, generator: torch.Generator) -> Tensor:
    """Greedy k-center on a random projection: each pick is the patch farthest from all picked before it."""
    directions = torch.randn(patches.shape[1], projection, generator=generator) / projection**0.5
    points = patches @ directions
    norms = points.square().sum(1)
    farness = torch.full((len(points),), torch.inf)
    picks = [int(torch.randint(len(points), (1,), generator=generator))]
    for _ in range(min(size, len(points)) - 1):
        latest = points[picks[-1]]
        torch.minimum(farness, torch.addmv(norms, points, latest, alpha=-2) + norms[picks[-1]], out=farness)
        picks.append(int(farness.argmax()))
    return torch.tensor(picks)


def gaussian(coarse: Sequence[Tensor], shrinkage: float) -> tuple[Tensor, Tensor]:
    """The mean, and the matrix that turns a deviation into one of unit variance."""
    count = sum(len(one) for one in coarse)
    mean = (torch.stack([one.sum(0, dtype=torch.float64) for one in coarse]).sum(0) / count).float()
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for one in coarse:
        covariance += ((one - mean).T @ (one - mean)).double()
    covariance /= max(count - 1, 1)
    # Shrunk, or a channel that never varied in the taught images would make any change in it infinitely far.
    covariance.diagonal().add_(shrinkage * covariance.diagonal().mean() + 1e-12)
    return mean, torch.linalg.cholesky(torch.linalg.inv(covariance)).float()


def fusion(held_out: Sequence[Patches], tensors: dict[str, Tensor], configuration: PatchCoreConfiguration) -> Tensor:
    """Mean and deviation of each scorer's image scores on held-out good parts: what makes the two comparable."""
    scorer = Scorer(configuration, tensors | {"fusion": torch.tensor([[0.0, 1.0], [0.0, 1.0]])})
    near = [worst_mean(scorer.near(one.fine).numpy().astype(np.float64), configuration.worst_share) for one in held_out]
    far = [worst_mean(scorer.far(one.coarse).numpy().astype(np.float64), configuration.worst_share) for one in held_out]
    return torch.tensor([[np.mean(scores), max(np.std(scores), 1e-6)] for scores in (near, far)], dtype=torch.float64)

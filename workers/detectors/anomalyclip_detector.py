"""AnomalyCLIP as a detector: zero-shot, or few-shot with a memory of good patches beside the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from storage.code_version import code_version
from storage.errors import ImageUnreadable, InspectionFailed, ModelError, ScoreInvalid
from storage.model_files import file_sha256
from workers.detectors import anomalyclip_features, artefact, prompts
from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig, ImageFeatures, Scores, smooth
from workers.detectors.anomalyclip_images import check, preprocess
from workers.detectors.artefact import Artefact
from workers.detectors.calibration import anomaly_score
from workers.detectors.clip_tower import CLIP_FILE
from workers.detectors.detector import Calibration, Image, Prediction
from workers.detectors.good_patches import GoodPatches
from workers.detectors.weight_files import OURS, load_float
from workers.detectors.weight_folder import find_clip, find_prompts

MEMORY_WEIGHT = 0.5  # of the distance to good patches in score and map, as published for WinCLIP+
NG_THRESHOLD = 0.5

UNCALIBRATED = Calibration(
    good_raw_scores=(),
    target_false_reject_rate=1.0,
    review_share=0.0,
    raw_centre=0.5,
    raw_threshold=0.5,
    raw_ok_threshold=0.5,
    false_reject_interval=(0.0, 1.0),
)
"""Day 0, no known-good part seen: the threshold is where both prompts fit equally well, and nothing is promised."""


@dataclass(frozen=True)
class ClipFile:
    """Which CLIP, and the file with its weights."""

    name: str
    path: Path
    known_sha256: str | None = None

    @cached_property
    def sha256(self) -> str:
        """Asked for once: it is hundreds of megabytes."""
        return self.known_sha256 or file_sha256(self.path)


@dataclass(frozen=True)
class Judgement:
    """What is said of a batch, all in [0, 1]: raw_scores (B,), raw_maps (B, S, S), probabilities (B, 2)."""

    raw_scores: Tensor
    raw_maps: Tensor
    probabilities: Tensor
    embedding: Tensor


@dataclass(frozen=True)
class Learned:
    """What a plant adds to the published model."""

    calibration: Calibration = UNCALIBRATED
    memory: GoodPatches | None = None
    training: dict[str, Any] = field(default_factory=dict)
    """How the prompts were learned, for the record."""


class AnomalyCLIPDetector:
    """A model ready to score; its text features are computed once, here."""

    name = "anomalyclip"

    def __init__(
        self, model: AnomalyCLIP, clip: ClipFile, learned: Learned = Learned(), created_at: str | None = None
    ) -> None:
        self.model, self.clip, self.learned = model, clip, learned
        self.calibration = learned.calibration
        self.created_at = created_at or datetime.now(UTC).isoformat()
        self.image_size = model.config.image_size
        with torch.inference_mode():
            self._text = model.text_features()
        self._memory = learned.memory.to(self._text.device) if learned.memory else None
        self.version = artefact.weights_sha256(self._tensors())[:12]

    @classmethod
    def from_folder(
        cls,
        models_folder: Path,
        clip: str,
        learned_prompts: str,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        side_near: int | None = None,
        **choices: Any,
    ) -> Self:
        """Build from the models folder: CLIP weights by MODEL:TAG, prompts by name; choices are the configuration's.

        side_near: the image's side in pixels, to be taken to the nearest number of whole patches.
        """
        stored, stored_prompts = find_clip(clip, models_folder), find_prompts(learned_prompts, models_folder)
        backbone, learned = stored.load(), stored_prompts.load()
        prompts.check_origin(learned, backbone)
        config = AnomalyCLIPConfig.for_clip(backbone, **{**stored.choices, **stored_prompts.choices, **choices})
        if side_near is not None:
            config = replace(config, image_size=max(1, round(side_near / config.patch_size)) * config.patch_size)
        model = AnomalyCLIP.from_weights(config, backbone, learned).to(device=device, dtype=dtype)
        return cls(model, ClipFile(stored.name, stored.file, stored.sha256))

    @property
    def ng_threshold(self) -> float:
        """The anomaly_score from which a part is NG: the scale puts the raw threshold there."""
        return NG_THRESHOLD

    @property
    def ok_threshold(self) -> float:
        """The anomaly_score below which a part is OK."""
        return float(self._on_scale(np.array([self.calibration.raw_ok_threshold]))[0])

    def with_learned(self, **learned: Any) -> AnomalyCLIPDetector:
        """The same model with other fields of `Learned`."""
        return AnomalyCLIPDetector(self.model, self.clip, replace(self.learned, **learned))

    def predict(self, images: Sequence[Image]) -> list[Prediction | InspectionFailed]:
        """Score a batch; images may differ in size. One answer per image, in order.

        The images' scores do not depend on one another beyond the order in which the machine adds numbers.
        """
        refused = [refusal(image) for image in images]
        fit = [image for image, error in zip(images, refused, strict=True) if error is None]
        scored = iter(self._score(fit) if fit else ())
        return [error or next(scored) for error in refused]

    def _score(self, images: Sequence[Image]) -> list[Prediction | InspectionFailed]:
        return self._predicted(self.judge(self.features(images)))

    def score_features(self, features: ImageFeatures) -> Prediction:
        """Of one image: for who has looked at it already."""
        (answer,) = self._predicted(self.judge(features))
        if isinstance(answer, InspectionFailed):
            raise answer
        return answer

    def _predicted(self, judged: Judgement) -> list[Prediction | InspectionFailed]:
        columns = (judged.raw_scores, judged.probabilities[:, 1], judged.raw_maps, judged.embedding)
        rows = zip(*(column.cpu().double().numpy() for column in columns), strict=True)
        return [self._predict_one(*row) for row in rows]

    def features(self, images: Sequence[Image]) -> ImageFeatures:
        """What the visual tower says of images."""
        with torch.inference_mode():
            return self.model.encode_image(preprocess(images, self.model.config).to(self._text.device))

    @property
    def look_key(self) -> str:
        """Which features `features` gives, for a cache: they change with neither prompts nor memory."""
        return anomalyclip_features.key_of(self.model.config, self.clip.sha256)

    def judge(self, features: ImageFeatures) -> Judgement:
        """The text-guided scores and, where good patches are remembered, the distance to them, weighed into one."""
        features = features.to(self._text.device)  # kept ones are on the CPU
        with torch.inference_mode():
            scores = self.model.score(features, self._text)
            raw, raw_maps = scores.probabilities[:, 1], self._text_map(scores)
            if self._memory is not None:
                distances = self._memory.distances(features.patches)  # (B, N)
                raw = fused(raw, distances.amax(dim=1))
                raw_maps = fused(raw_maps, self._memory_map(distances))
        return Judgement(raw, raw_maps, scores.probabilities, scores.embedding)

    def _text_map(self, scores: Scores) -> Tensor:
        """(B, S, S); the sum over the tapped blocks is at most their number, and the mean is on the score's scale."""
        config = self.model.config
        return scores.anomaly_map / (len(config.features_list) if config.map_fusion == "sum" else 1)

    def _memory_map(self, distances: Tensor) -> Tensor:
        """(B, N) to (B, S, S), enlarged and smoothed as the text-guided map is."""
        config = self.model.config
        square = distances.view(-1, 1, config.grid, config.grid)  # (B, 1, g, g)
        size = (config.image_size, config.image_size)
        enlarged = F.interpolate(square, size, mode="bilinear", align_corners=False)[:, 0]  # (B, S, S)
        return smooth(enlarged, config.sigma, config.truncate)

    def _predict_one(
        self, raw: float, anomalous: float, raw_map: NDArray[np.float64], embedding: NDArray[np.float64]
    ) -> Prediction | ScoreInvalid:
        if not (np.isfinite(raw) and np.isfinite(raw_map).all()):
            return ScoreInvalid(f"AnomalyCLIP returned {raw}, not a number in [0, 1]")
        return Prediction(
            anomaly_score=float(self._on_scale(np.array([raw]))[0]),
            raw_score=float(raw),
            anomaly_map=self._on_scale(raw_map).clip(0, 1).astype(np.float32),
            probabilities={"normal": float(1 - anomalous), "anomaly": float(anomalous)},
            embedding=embedding.astype(np.float32),
        )

    def _on_scale(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Uncalibrated, the probability of the abnormal prompt; else held-out good parts say what is far."""
        return anomaly_score(self.calibration, raw) if self.calibration.good_raw_scores else raw

    def _tensors(self) -> dict[str, Tensor]:
        """What is not the CLIP's."""
        learned = {f"{OURS}{key}": tensor for key, tensor in self.model.prompt_learner.state_dict().items()}
        return learned | (self.learned.memory.state() if self.learned.memory else {})

    def save(self, folder: Path) -> str:
        config = self.model.config
        return artefact.write(
            Artefact(
                detector=self.name,
                configuration=config.to_dict(),
                preprocessing={name: config.to_dict()[name] for name in ("image_size", "mean", "std")},
                backbone={"name": self.clip.name},
                calibration=self.calibration,
                thresholds={"ok": self.ok_threshold, "ng": self.ng_threshold},
                code_version=code_version(),
                created_at=self.created_at,
                tensors=self._tensors(),
                shared={CLIP_FILE: self.clip.path},
                training=self.learned.training,
            ),
            folder,
        )

    @classmethod
    def restore(cls, saved: Artefact, device: str = "cpu") -> Self:
        """The detector that was saved."""
        if CLIP_FILE not in saved.shared:
            raise ModelError(f"the model has no {CLIP_FILE}")
        clip = ClipFile(saved.backbone["name"], saved.shared[CLIP_FILE])
        learned = {name.removeprefix(OURS): one for name, one in saved.tensors.items() if name.startswith(OURS)}
        config = AnomalyCLIPConfig.from_dict(saved.configuration)
        model = AnomalyCLIP.from_weights(config, load_float(clip.path), learned).to(device)
        memory = GoodPatches.from_state(saved.tensors)
        return cls(model, clip, Learned(saved.calibration, memory, saved.training), saved.created_at)


def fused(text: Tensor, memory: Tensor) -> Tensor:
    return (1 - MEMORY_WEIGHT) * text + MEMORY_WEIGHT * memory


def refusal(image: Image) -> ImageUnreadable | None:
    """Why this image cannot be scored; the others are scored all the same."""
    try:
        check(image)
    except ImageUnreadable as error:
        return error
    return None

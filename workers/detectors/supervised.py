"""A one-class detector with a head on top that learned from operators' labels; the two scores are fused.

The head reads frozen features of EfficientNet-Lite0, so that any one-class detector can be beneath it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from storage.code_version import code_version
from storage.errors import InspectionFailed, ModelError, ScoreInvalid
from workers.detectors import artefact
from workers.detectors.artefact import Artefact
from workers.detectors.beneath import Packed, packed, unpacked
from workers.detectors.calibration import anomaly_score, score_of
from workers.detectors.detector import Calibration, Detector, Image, Prediction
from workers.detectors.efficientnet_lite import PREPROCESSING, WEIGHTS_SHA256, EfficientNetLite
from workers.detectors.fusion import Fusion, probability
from workers.detectors.head import Head, inputs
from workers.detectors.head_configuration import HeadConfiguration

NG_THRESHOLD = 0.5
HEAD = "head."


@dataclass(frozen=True)
class Learned:
    """What training found out beside the weights; it stands in model.yaml."""

    fusion: Fusion
    evidence: dict[str, float | int | bool]
    f1_threshold: float
    """The anomaly_score that told held-out labelled parts apart best, by F1."""


class SupervisedDetector:
    """Meets `Detector`. raw_score is the fused logit of being defective, calibrated like any other on good parts."""

    name = "supervised"

    def __init__(
        self,
        base: Detector,
        head: Head,
        configuration: HeadConfiguration,
        learned: Learned,
        calibration: Calibration,
        created_at: str,
        backbone: EfficientNetLite,
    ) -> None:
        self.base, self.configuration, self.learned = base, configuration, learned
        self.calibration, self.created_at, self.backbone = calibration, created_at, backbone
        self.head = head.to(backbone.device).eval().requires_grad_(False)
        self.image_size = max(base.image_size, configuration.image_size)
        self.version = sha256(
            f"{base.version} {artefact.weights_sha256(self.tensors())} {learned.fusion}".encode()
        ).hexdigest()[:12]

    @property
    def ng_threshold(self) -> float:
        return NG_THRESHOLD

    @property
    def ok_threshold(self) -> float:
        return score_of(self.calibration, self.calibration.raw_ok_threshold)

    def predict(self, images: Sequence[Image]) -> list[Prediction | InspectionFailed]:
        answers = self.base.predict(images)
        return [self.answer(image, below) for image, below in zip(images, answers, strict=True)]

    def answer(self, image: Image, below: Prediction | InspectionFailed) -> Prediction | InspectionFailed:
        """An image that cannot be scored is that part's failure alone."""
        if isinstance(below, InspectionFailed):
            return below
        try:
            return self.fused(below, *self.judged(image))
        except InspectionFailed as error:
            return error

    def judged(self, image: Image) -> tuple[float, NDArray[np.float32]]:
        """The members' mean logits: of the image, and of its patches as (rows, columns)."""
        with torch.inference_mode():
            logits = self.head(inputs(self.backbone.features(image)))
        return float(logits.image.mean()), logits.patches[0].mean(0).cpu().numpy()

    def fused(self, below: Prediction, logit: float, patches: NDArray[np.float32]) -> Prediction:
        fusion = self.learned.fusion
        raw = float(fusion.raw(below.anomaly_score, logit))
        raw_map = fusion.raw(below.anomaly_map, fitting(patches, below.anomaly_map.shape))
        if not (np.isfinite(raw) and np.isfinite(raw_map).all()):
            raise ScoreInvalid(f"{self.name} {self.version} gave a raw score that is not a number: {raw}")
        anomaly = probability(raw)
        return Prediction(
            anomaly_score=score_of(self.calibration, raw),
            raw_score=raw,
            anomaly_map=anomaly_score(self.calibration, raw_map).astype(np.float32),
            probabilities={"normal": 1 - anomaly, "anomaly": anomaly},
            embedding=below.embedding,
        )

    def tensors(self) -> dict[str, Tensor]:
        return {HEAD + name: tensor for name, tensor in self.head.state_dict().items()}

    def save(self, folder: Path) -> str:
        with packed(self.base, near=folder.parent) as base:
            return artefact.write(self.described(base), folder)

    def described(self, base: Packed) -> Artefact:
        return Artefact(
            detector=self.name,
            configuration={
                "head": asdict(self.configuration),
                "fusion": asdict(self.learned.fusion),
                "evidence": self.learned.evidence,
                "f1_threshold": self.learned.f1_threshold,
                "base": base.description,
            },
            preprocessing=PREPROCESSING | {"image_size": self.configuration.image_size},
            backbone={"name": "tf_efficientnet_lite0", "sha256": WEIGHTS_SHA256},
            calibration=self.calibration,
            thresholds={"ok": self.ok_threshold, "ng": self.ng_threshold},
            code_version=code_version(),
            created_at=self.created_at,
            tensors=self.tensors() | base.tensors,
            shared=base.shared,
        )

    @classmethod
    def restore(cls, saved: Artefact, device: str = "cpu") -> SupervisedDetector:
        """The detector that was saved, the one beneath it too: the same scores to the last bit on the same machine."""
        if saved.backbone["sha256"] != WEIGHTS_SHA256:
            raise ModelError(f"the model needs backbone {saved.backbone['sha256']}; this version has {WEIGHTS_SHA256}")
        described = saved.configuration
        configuration = HeadConfiguration(**described["head"])
        learned = Learned(Fusion(**described["fusion"]), described["evidence"], described["f1_threshold"])
        return cls(
            unpacked(saved, described["base"], device),
            restored_head(configuration, saved.tensors),
            configuration,
            learned,
            saved.calibration,
            saved.created_at,
            EfficientNetLite(configuration.image_size, device),
        )


def restored_head(configuration: HeadConfiguration, tensors: Mapping[str, Tensor]) -> Head:
    head = Head(configuration.members, configuration.width, configuration.worst_share, configuration.dropout)
    found = {name.removeprefix(HEAD): tensor for name, tensor in tensors.items() if name.startswith(HEAD)}
    try:
        head.load_state_dict(found)
    except RuntimeError as error:
        raise ModelError(f"the head's weights do not fit its configuration: {error}") from error
    return head


def fitting(patches: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[Any]:
    """The head's patches on the grid of the map beneath."""
    if patches.shape == shape:
        return patches
    return np.asarray(cv2.resize(patches, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))

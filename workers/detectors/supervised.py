"""A one-class detector with a head and a summary's machine on top that learned from operators' labels; all are fused.

Where there were labels enough a fine-tuned tail of the backbone has a say, too. All of them read frozen features of
EfficientNet-Lite0, so that any one-class detector can be beneath them; a PatchCore that looks at frames in the same
way shares its one forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

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
from workers.detectors.efficientnet_lite import PREPROCESSING, S16_CHANNELS, WEIGHTS_SHA256, Features
from workers.detectors.frame_features import Look, Looker
from workers.detectors.frame_features import packed as rounded
from workers.detectors.fusion import Fusion, probability
from workers.detectors.head import Head, head_of, inputs
from workers.detectors.head_configuration import HeadConfiguration
from workers.detectors.patchcore import PatchCore
from workers.detectors.representation import Representation
from workers.detectors.summary import cells_of
from workers.detectors.summary_machine import SummaryMachine
from workers.detectors.tail import Tails
from workers.detectors.tail import restored as restored_tails
from workers.detectors.tail_onnx import OnnxTails, TorchTails

NG_THRESHOLD = 0.5
HEAD, SUMMARY, TAIL, REPRESENTATION = "head.", "summary.", "tail.", "representation."


@dataclass(frozen=True)
class Learned:
    """What training found out beside the weights; it stands in model.yaml."""

    fusion: Fusion
    evidence: dict[str, float | int | bool | None]
    f1_threshold: float
    """The anomaly_score with the best F1 to be expected of parts to come."""


class Judged(NamedTuple):
    """What labels taught about one frame."""

    logit: float  # the head's members' mean
    patches: NDArray[np.float32]  # (rows, columns), on the same scale
    margin: float  # the summary's
    tail: float  # the fine-tuned members' mean logit; 0 without them


class SupervisedDetector:
    """Meets `Detector`. raw_score is the fused logit of being defective, calibrated like any other on good parts."""

    name = "supervised"

    def __init__(
        self,
        base: Detector,
        head: Head,
        machine: SummaryMachine,
        configuration: HeadConfiguration,
        learned: Learned,
        calibration: Calibration,
        created_at: str,
        looker: Looker,
        tails: Tails | None = None,
        representation: Representation | None = None,
    ) -> None:
        self.base, self.configuration, self.learned = base, configuration, learned
        self.calibration, self.created_at, self.looker = calibration, created_at, looker
        self.head = head.to(looker.backbone.device).eval().requires_grad_(False)
        self.machine, self.tails = machine.to(looker.backbone.device), tails
        self.representation = representation  # for the next one to learn from; None of a model of an older version
        self.tail_logits = served(tails, configuration.look, looker.backbone.device)
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
        return [self.answer(image) for image in images]

    def answer(self, image: Image) -> Prediction | InspectionFailed:
        """An image that cannot be scored is that part's failure alone."""
        try:
            features = self.looker.backbone.features(image)
            if shares_look(self.base, self.looker.look):
                below = self.base.score_features([features])
            else:
                (answer,) = self.base.predict([image])
                if isinstance(answer, InspectionFailed):
                    return answer
                below = answer
            return self.fused(below, self.judged(features))
        except InspectionFailed as error:
            return error

    def judged(self, features: Features) -> Judged:
        """What labels taught about a frame; features are rounded as those were that it was learned from."""
        same = rounded(features).unpacked().to(self.looker.backbone.device)
        with torch.inference_mode():
            logits = self.head(inputs(same))
            margin = self.machine.margins(cells_of(same)[None])
        tail = 0.0 if self.tail_logits is None else float(self.tail_logits(same.s16[None]))
        return Judged(float(logits.image.mean()), logits.patches[0].mean(0).cpu().numpy(), float(margin), tail)

    def fused(self, below: Prediction, above: Judged) -> Prediction:
        fusion = self.learned.fusion
        raw = float(fusion.raw(below.anomaly_score, above.logit, above.margin, above.tail))
        patches = fitting(above.patches, below.anomaly_map.shape)
        raw_map = fusion.raw(below.anomaly_map, patches, above.margin, above.tail)
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
        head = {HEAD + name: tensor for name, tensor in self.head.state_dict().items()}
        summary = {SUMMARY + name: tensor for name, tensor in self.machine.tensors.items()}
        tails = {} if self.tails is None else {TAIL + name: one for name, one in self.tails.state_dict().items()}
        kept = {} if self.representation is None else self.representation.tensors()
        return head | summary | tails | {REPRESENTATION + name: tensor for name, tensor in kept.items()}

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
        base = unpacked(saved, described["base"], device)
        tails = beneath_prefix(TAIL, saved.tensors)
        machine = SummaryMachine(beneath_prefix(SUMMARY, saved.tensors))
        return cls(
            base,
            restored_head(configuration, saved.tensors),
            machine,
            configuration,
            learned,
            saved.calibration,
            saved.created_at,
            looker_for(base, configuration.look, device),
            restored_tails(tails) if tails else None,
            Representation.restored(beneath_prefix(REPRESENTATION, saved.tensors), machine),
        )


def served(tails: Tails | None, look: Look, device: torch.device) -> OnnxTails | TorchTails | None:
    if tails is None:
        return None
    side = look.image_size // 16
    return OnnxTails(tails, (1, S16_CHANNELS, side, side)) if device.type == "cpu" else TorchTails(tails, device)


def shares_look(base: Detector, look: Look) -> TypeGuard[PatchCore]:
    """Whether one forward pass serves both."""
    return isinstance(base, PatchCore) and base.eye.look == look


def looker_for(base: Detector, look: Look, device: str = "cpu") -> Looker:
    """The backbone that base has in memory already, where it looks in the same way."""
    return Looker(look, device, base.eye.network if shares_look(base, look) else None)


def beneath_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def restored_head(configuration: HeadConfiguration, tensors: Mapping[str, Tensor]) -> Head:
    head = head_of(configuration)
    try:
        head.load_state_dict(beneath_prefix(HEAD, tensors))
    except RuntimeError as error:
        raise ModelError(f"the head's weights do not fit its configuration: {error}") from error
    return head


def fitting(patches: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[Any]:
    """The head's patches on the grid of the map beneath."""
    if patches.shape == shape:
        return patches
    return np.asarray(cv2.resize(patches, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))

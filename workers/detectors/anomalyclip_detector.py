"""AnomalyCLIP as a detector: frames in, predictions out; a model file that can be checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
import yaml
from numpy.typing import NDArray

from storage.errors import InspectionFailed, ModelAltered, ModelError, ModelMissing, ScoreInvalid
from workers.detectors import artefact, prompts, weights
from workers.detectors.anomalyclip import AnomalyCLIP, AnomalyCLIPConfig
from workers.detectors.anomalyclip_images import preprocess
from workers.detectors.detector import Calibration, Image, Prediction
from workers.detectors.download import sha256_of

CLIP_FILE, PROMPTS_FILE, MODEL_FILE = "clip.safetensors", "prompts.safetensors", "model.yaml"

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


class AnomalyCLIPDetector:
    """A model ready to score; its text features are computed once, here."""

    name = "anomalyclip"

    def __init__(
        self, model: AnomalyCLIP, clip_file: Path, version: str, calibration: Calibration = UNCALIBRATED
    ) -> None:
        self.model = model
        self.clip_file = clip_file
        self.version = version
        self.calibration = calibration
        self.image_size = model.config.image_size
        with torch.inference_mode():
            self._text = model.text_features()

    @classmethod
    def from_store(
        cls,
        models_folder: Path,
        clip: str,
        learned_prompts: str,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        **choices: Any,
    ) -> Self:
        """Build from the models folder: CLIP weights by MODEL:TAG, prompts by name; choices are the configuration's."""
        stored = weights.find_clip(clip, models_folder)
        stored_prompts = weights.find_prompts(learned_prompts, models_folder)
        backbone, learned = stored.load(), stored_prompts.load()
        prompts.check_origin(learned, backbone)
        config = AnomalyCLIPConfig.for_clip(backbone, **{**stored.choices, **stored_prompts.choices, **choices})
        model = AnomalyCLIP.from_weights(config, backbone, learned).to(device=device, dtype=dtype)
        return cls(model, stored.file, version=learned_prompts)

    @property
    def ng_threshold(self) -> float:
        """The anomaly_score from which a part is NG: rescaling puts the raw threshold there."""
        return 0.5

    @property
    def ok_threshold(self) -> float:
        """The anomaly_score below which a part is OK."""
        return float(rescale(np.asarray(self.calibration.raw_ok_threshold), self.calibration.raw_threshold))

    def predict(self, images: Sequence[Image]) -> list[Prediction | InspectionFailed]:
        """Score a batch; images may differ in size. One answer per image, in order."""
        if not images:
            return []
        with torch.inference_mode():
            batch = preprocess(images, self.model.config).to(self._text.device)
            scores = self.model(batch, self._text)
        raw = scores.probabilities[:, 1].cpu()
        # The sum over the tapped blocks is at most their number: the mean is on the image score's scale.
        taps = len(self.model.config.features_list) if self.model.config.map_fusion == "sum" else 1
        maps = (scores.anomaly_map / taps).cpu().numpy().astype(np.float32)
        embeddings = scores.embedding.cpu().numpy().astype(np.float32)
        return [self._predict_one(*one) for one in zip(raw.tolist(), maps, embeddings, strict=True)]

    def _predict_one(
        self, raw: float, raw_map: NDArray[np.float32], embedding: NDArray[np.float32]
    ) -> Prediction | ScoreInvalid:
        if not (np.isfinite(raw) and np.isfinite(raw_map).all()):
            return ScoreInvalid(f"AnomalyCLIP returned {raw}, not a number in [0, 1]")
        threshold = self.calibration.raw_threshold
        return Prediction(
            anomaly_score=float(rescale(np.asarray(raw), threshold)),
            raw_score=raw,
            anomaly_map=rescale(raw_map.clip(0, 1), threshold).astype(np.float32),
            probabilities={"normal": 1.0 - raw, "anomaly": raw},
            embedding=embedding,
        )

    def with_calibration(self, calibration: Calibration) -> AnomalyCLIPDetector:
        """The same model with another threshold."""
        return AnomalyCLIPDetector(self.model, self.clip_file, self.version, calibration)

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> str:
        """Write safetensors and model.yaml into the folder; return the artefact's SHA-256, which is model.yaml's.

        model.yaml names the SHA-256 of the other files. The CLIP weights are linked where the disk allows it: a
        retraining a night does not store a gigabyte a night. training: how the prompts were learned, for the record.
        """
        folder.mkdir(parents=True, exist_ok=True)
        link_or_copy(self.clip_file, folder / CLIP_FILE)
        learned = {key: tensor.contiguous().cpu() for key, tensor in self.model.prompt_learner.state_dict().items()}
        safetensors.torch.save_file(learned, folder / PROMPTS_FILE)
        description = {
            "detector": self.name,
            "version": self.version,
            "configuration": self.model.config.to_dict(),
            "calibration": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(self.calibration).items()
            },
            "training": dict(training or {}),
            "files": {name: sha256_of(folder / name) for name in (CLIP_FILE, PROMPTS_FILE)},
        }
        (folder / MODEL_FILE).write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
        return sha256_of(folder / MODEL_FILE)

    @classmethod
    def load(
        cls, folder: Path, sha256: str | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Self:
        """Read what `save` wrote, after checking each file's SHA-256."""
        description = _read_description(folder, sha256)
        clip, learned = (weights.load_float(folder / name) for name in (CLIP_FILE, PROMPTS_FILE))
        config = AnomalyCLIPConfig.from_dict(description["configuration"])
        model = AnomalyCLIP.from_weights(config, clip, learned).to(device=device, dtype=dtype)
        return cls(model, folder / CLIP_FILE, description["version"], artefact.calibration(description["calibration"]))


def rescale(raw: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.floating[Any]]:
    """A probability on the scale where the threshold is 0.5: its odds divided by the threshold's odds."""
    bad, good = raw * (1 - threshold), (1 - raw) * threshold
    return bad / (bad + good)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no links."""
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _read_description(folder: Path, sha256: str | None) -> dict[str, Any]:
    _check_file(folder, MODEL_FILE, sha256)
    try:
        description: dict[str, Any] = yaml.safe_load((folder / MODEL_FILE).read_text(encoding="utf-8"))
        for name in (CLIP_FILE, PROMPTS_FILE):
            _check_file(folder, name, description["files"][name])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / MODEL_FILE}: not a model's description: {error}") from error
    return description


def _check_file(folder: Path, name: str, sha256: str | None) -> None:
    if not (folder / name).is_file():
        raise ModelMissing(f"{folder}: holds no {name}")
    if sha256 is not None and (found := sha256_of(folder / name)) != sha256:
        raise ModelAltered(folder / name, sha256, found)

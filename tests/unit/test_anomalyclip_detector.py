from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image as Pillow

from storage.errors import ImageUnreadable, ModelAltered, ModelError, ModelMissing, ScoreInvalid
from tests.unit import tiny_clip
from workers.detectors.anomalyclip import AnomalyCLIPConfig
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector
from workers.detectors.anomalyclip_images import preprocess, preprocess_mask
from workers.detectors.detector import Calibration, Detector, Image, Prediction

CONFIG = AnomalyCLIPConfig(image_size=56)


def make_image(height: int, width: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    smooth = np.random.default_rng(seed).integers(0, 256, size=(height // 8 + 2, width // 8 + 2, 3))
    return np.kron(smooth, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


def build(folder: Path, **choices: Any) -> AnomalyCLIPDetector:
    clip_file = folder / "clip.safetensors"
    safetensors.torch.save_file(tiny_clip.weights(), clip_file)
    shape: dict[str, Any] = {"image_size": 48, "dpam_layer": 2, "features_list": (2, 3)}
    return AnomalyCLIPDetector(tiny_clip.model(**shape | choices), clip_file, version="v1")


@pytest.mark.parametrize(("height", "width"), [(56, 56), (300, 200), (40, 90), (1, 1)])
def test_an_image_is_prepared_as_the_published_code_prepares_it(height: int, width: int) -> None:
    bgr = make_image(height, width)
    resized = Pillow.fromarray(bgr[:, :, ::-1].copy()).resize((56, 56), Pillow.Resampling.BICUBIC)
    expected = (np.asarray(resized) / 255 - np.array(CONFIG.mean)) / np.array(CONFIG.std)
    prepared = preprocess([bgr], CONFIG)[0].permute(1, 2, 0).numpy()
    # One step of 8 bit: the two resize with another rounding of the same weights.
    assert np.abs(prepared - expected).max() <= 1.01 / 255 / min(CONFIG.std)


def test_grey_and_16_bit_images_are_prepared_like_their_8_bit_colour_twins() -> None:
    grey = make_image(60, 80)[:, :, 0]
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    deep = grey.astype(np.uint16) * 257
    reference = preprocess([colour], CONFIG)
    assert torch.equal(preprocess([grey], CONFIG), reference)
    # 8 bit is rounded and clamped between the two directions of the resize, too; 16 bit only at the end.
    assert (preprocess([deep], CONFIG) - reference).abs().max() <= 4 / 255 / min(CONFIG.std)


def test_16_bit_images_keep_what_8_bit_cannot_tell_apart() -> None:
    dark, darker = (np.full((20, 20), level, np.uint16) for level in (300, 310))
    assert (preprocess([dark], CONFIG) - preprocess([darker], CONFIG)).abs().max() > 0


def test_a_read_only_frame_is_prepared_without_a_warning() -> None:
    for image in (make_image(56, 56), make_image(56, 56).astype(np.uint16)):
        image.flags.writeable = False
        assert preprocess([image], CONFIG).shape == (1, 3, 56, 56)


def test_an_image_of_100_megapixels_is_prepared() -> None:
    image = np.full((10_000, 10_000), 128, np.uint8)
    expected = (128 / 255 - np.array(CONFIG.mean)) / np.array(CONFIG.std)
    assert preprocess([image], CONFIG)[0].mean(dim=(1, 2)).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((8, 8, 4), np.uint8), "alpha channel"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\)"),
        (np.zeros((0, 8), np.uint8), r"shape \(0, 8\)"),
        (np.full((8, 8), np.nan, np.float32), "type float32"),
        (np.zeros((8, 8), np.int32), "type int32"),
        (np.zeros(8, np.uint8), r"shape \(8,\)"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_answered_with_what_is_allowed(image: Any, told: str) -> None:
    with pytest.raises(ImageUnreadable, match=told) as refused:
        preprocess([image], CONFIG)
    assert "allowed: (height, width) grey or (height, width, 3) BGR, uint8 or uint16" in str(refused.value)


def test_a_mask_is_prepared_as_the_published_code_prepares_it() -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[20:50, 30:77] = 1
    marked = Pillow.fromarray((mask > 0).astype(np.uint8) * 255).resize((56, 56), Pillow.Resampling.BILINEAR)
    expected = np.asarray(marked) / 255 > 0.5
    assert (preprocess_mask(mask, 56).numpy() == expected).mean() > 0.999


def scored(detector: Detector, frames: Sequence[Image]) -> list[Prediction]:
    answers = detector.predict(frames)
    predictions = [answer for answer in answers if isinstance(answer, Prediction)]
    assert len(predictions) == len(answers)
    return predictions


def test_images_of_different_kinds_and_sizes_are_scored_in_one_batch_in_order(tmp_path: Path) -> None:
    detector: Detector = build(tmp_path)
    frames: list[Image] = [
        make_image(60, 80),
        make_image(33, 20, 1)[:, :, 0],
        make_image(9, 100, 2).astype(np.uint16) * 257,
    ]
    predictions = scored(detector, frames)
    assert len(predictions) == 3
    for frame, prediction in zip(frames, predictions, strict=True):
        (alone,) = scored(detector, [frame])
        assert prediction.raw_score == pytest.approx(alone.raw_score, abs=1e-6)
        assert 0 <= prediction.anomaly_score <= 1
        assert prediction.anomaly_map.shape == (48, 48) and prediction.anomaly_map.dtype == np.float32
        assert 0 <= prediction.anomaly_map.min() <= prediction.anomaly_map.max() <= 1
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.probabilities["anomaly"] == prediction.raw_score
        assert prediction.embedding is not None
        assert np.linalg.norm(prediction.embedding) == pytest.approx(1, abs=1e-5)
    assert detector.predict([]) == []


def test_the_threshold_is_at_a_half_and_the_order_of_scores_stays(tmp_path: Path) -> None:
    detector = build(tmp_path)
    frames = [make_image(60, 80, seed) for seed in range(5)]
    raw = sorted(prediction.raw_score for prediction in scored(detector, frames))
    calibrated = detector.with_calibration(Calibration(tuple(raw), 0.4, 0.2, raw[1], raw[2], raw[2], (0.1, 0.7)))
    scores = sorted((p.raw_score, p.anomaly_score) for p in scored(calibrated, frames))
    assert scores[2][1] == pytest.approx(0.5)
    assert [score for _, score in scores] == sorted(score for _, score in scores)


def test_text_features_are_computed_once(tmp_path: Path) -> None:
    detector = build(tmp_path)
    calls: list[int] = []
    detector.model.ln_final.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        detector.predict([make_image(20, 20)])
    assert calls == []


def test_a_saved_model_scores_the_same_and_its_files_can_be_checked(tmp_path: Path) -> None:
    detector = build(tmp_path).with_calibration(Calibration((0.1, 0.2), 0.05, 0.05, 0.15, 0.3, 0.25, (0.0, 0.2)))
    sha256 = detector.save(tmp_path / "model")
    loaded = AnomalyCLIPDetector.load(tmp_path / "model", sha256)
    frame = make_image(60, 80)
    assert scored(loaded, [frame])[0].anomaly_score == scored(detector, [frame])[0].anomaly_score
    assert loaded.calibration == detector.calibration
    assert loaded.model.config == detector.model.config
    assert detector.save(tmp_path / "model") == sha256
    assert loaded.save(tmp_path / "model") == sha256


@pytest.mark.parametrize("name", ["clip.safetensors", "prompts.safetensors", "model.yaml"])
def test_an_altered_file_of_a_model_is_refused(tmp_path: Path, name: str) -> None:
    sha256 = build(tmp_path).save(tmp_path / "model")
    content = bytearray((tmp_path / "model" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises(ModelAltered, match=name):
        AnomalyCLIPDetector.load(tmp_path / "model", sha256)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"holds no model\.yaml"):
        AnomalyCLIPDetector.load(tmp_path)


def test_a_model_file_that_went_missing_is_told(tmp_path: Path) -> None:
    build(tmp_path).save(tmp_path / "model")
    (tmp_path / "model" / "prompts.safetensors").unlink()
    with pytest.raises(ModelMissing, match=r"holds no prompts\.safetensors"):
        AnomalyCLIPDetector.load(tmp_path / "model")


def test_a_score_that_is_no_number_is_never_given_out(tmp_path: Path) -> None:
    detector = build(tmp_path)
    with torch.no_grad():
        detector.model.visual.proj[0, 0] = float("nan")
    (answer,) = detector.predict([make_image(20, 20)])
    assert isinstance(answer, ScoreInvalid) and "nan" in str(answer)


def test_a_description_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    build(tmp_path).save(tmp_path / "model")
    for text in ("files: [", "detector: anomalyclip\n", "\x0b"):
        (tmp_path / "model" / "model.yaml").write_text(text)
        with pytest.raises(ModelError, match="not a model's description"):
            AnomalyCLIPDetector.load(tmp_path / "model")

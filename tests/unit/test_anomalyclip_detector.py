from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image as Pillow

from storage.errors import ImageUnreadable, ModelAltered, ModelMissing, ScoreInvalid
from storage.model_files import check_model
from tests.unit import tiny_clip
from tests.unit.kept_bytes import growth
from workers.detectors import registry
from workers.detectors.anomalyclip import AnomalyCLIPConfig
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector, ClipFile
from workers.detectors.anomalyclip_images import preprocess, preprocess_mask
from workers.detectors.anomalyclip_teaching import remember
from workers.detectors.calibration import calibrate
from workers.detectors.detector import Calibration, Detector, Image, Prediction
from workers.detectors.good_patches import GoodPatches
from workers.detectors.taught_anew import look

CONFIG = AnomalyCLIPConfig(image_size=56)


def make_image(height: int, width: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    smooth = np.random.default_rng(seed).integers(0, 256, size=(height // 8 + 2, width // 8 + 2, 3))
    return np.kron(smooth, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


def build(folder: Path, **choices: Any) -> AnomalyCLIPDetector:
    clip_file = folder / "clip.safetensors"
    safetensors.torch.save_file(tiny_clip.weights(), clip_file)
    shape: dict[str, Any] = {"image_size": 48, "dpam_layer": 2, "features_list": (2, 3)}
    return AnomalyCLIPDetector(tiny_clip.model(**shape | choices), ClipFile("ViT-tiny:random", clip_file))


def few_shot(folder: Path, **choices: Any) -> AnomalyCLIPDetector:
    """With six good images in memory and six others to calibrate on."""
    detector = build(folder, **choices)
    good = [detector.features([make_image(60, 80, seed)]) for seed in range(100, 112)]
    memory = GoodPatches.remember([one.patches for one in good[:6]], seed=0)
    remembering = detector.with_learned(memory=memory)
    scores = [float(remembering.judge(one).raw_scores) for one in good[6:]]
    return remembering.with_learned(calibration=calibrate(scores, 0.2, 0.2))


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
    calibration = Calibration(tuple(raw), 0.4, 0.2, raw[1], raw[2], raw[2], (0.1, 0.7))
    calibrated = detector.with_learned(calibration=calibration)
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


@pytest.mark.parametrize("make", [build, few_shot])
def test_a_saved_model_scores_the_same_and_its_files_can_be_checked(
    tmp_path: Path, make: Callable[[Path], AnomalyCLIPDetector]
) -> None:
    detector = make(tmp_path)
    sha256 = detector.save(tmp_path / "model")
    loaded = registry.load(tmp_path / "model", sha256)
    assert isinstance(loaded, AnomalyCLIPDetector)
    check_model(tmp_path / "model", sha256)
    (ours,), (theirs,) = (scored(one, [make_image(60, 80)]) for one in (detector, loaded))
    assert (ours.anomaly_score, ours.raw_score) == (theirs.anomaly_score, theirs.raw_score)
    assert np.array_equal(ours.anomaly_map, theirs.anomaly_map)
    assert loaded.calibration == detector.calibration
    assert loaded.model.config == detector.model.config
    assert loaded.version == detector.version
    assert detector.save(tmp_path / "model") == sha256
    assert loaded.save(tmp_path / "again") == sha256


def test_the_big_file_of_a_model_is_linked_and_not_stored_again(tmp_path: Path) -> None:
    detector = build(tmp_path)
    detector.save(tmp_path / "model")
    assert (tmp_path / "model" / "clip.safetensors").samefile(detector.clip.path)


@pytest.mark.parametrize("name", ["clip.safetensors", "weights.safetensors", "model.yaml"])
def test_an_altered_file_of_a_model_is_refused(tmp_path: Path, name: str) -> None:
    sha256 = build(tmp_path).save(tmp_path / "model")
    content = bytearray((tmp_path / "model" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises(ModelAltered, match=name):
        registry.load(tmp_path / "model", sha256)


@pytest.mark.parametrize("name", ["clip.safetensors", "weights.safetensors", "model.yaml"])
def test_a_model_file_that_went_missing_is_told(tmp_path: Path, name: str) -> None:
    sha256 = build(tmp_path).save(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(ModelMissing, match=name):
        registry.load(tmp_path / "model", sha256)


def test_good_patches_are_at_no_distance_and_an_odd_patch_is_far_from_them(tmp_path: Path) -> None:
    detector = few_shot(tmp_path)
    memory = detector.learned.memory
    assert memory is not None
    seen, unseen = (detector.features([make_image(60, 80, seed)]).patches for seed in (100, 500))
    assert memory.distances(seen).abs().max() < 1e-6
    assert memory.distances(unseen).max() > 0.01
    assert memory.distances(unseen).shape == (1, detector.model.config.grid**2)


def test_few_shot_scores_weigh_the_prompts_and_the_distance_to_good_patches(tmp_path: Path) -> None:
    alone, both = build(tmp_path), few_shot(tmp_path)
    frame = make_image(60, 80, 7)
    features = alone.features([frame])
    assert both.learned.memory is not None
    distances = both.learned.memory.distances(features.patches)
    (text,), (fused,) = scored(alone, [frame]), scored(both, [frame])
    assert fused.raw_score == pytest.approx((text.raw_score + float(distances.max())) / 2, abs=1e-6)
    raw_map, text_map = both.judge(features).raw_maps, alone.judge(features).raw_maps
    assert not torch.allclose(raw_map, text_map)
    assert (2 * raw_map - text_map).mean() == pytest.approx(float(distances.mean()), abs=0.02)


def test_an_image_that_cannot_be_scored_leaves_the_others_scored(tmp_path: Path) -> None:
    detector = build(tmp_path)
    good = make_image(20, 20)
    first, refused, last = detector.predict([good, np.zeros((0, 8), np.uint8), good])
    assert isinstance(refused, ImageUnreadable)
    assert isinstance(first, Prediction) and isinstance(last, Prediction)
    assert first.raw_score == pytest.approx(last.raw_score, abs=1e-6)


@pytest.mark.parametrize("make", [build, few_shot])
def test_scoring_keeps_nothing_of_the_batches_it_scored(
    tmp_path: Path, make: Callable[[Path], AnomalyCLIPDetector]
) -> None:
    detector, batch = make(tmp_path), [make_image(60, 80, seed) for seed in range(3)]
    tensors, others = growth(detector, batch)
    assert tensors == 0
    assert others < 3 * 48 * 48 * 4, "less than the maps of one batch, after eighteen more"


def test_a_score_that_is_no_number_is_never_given_out(tmp_path: Path) -> None:
    detector = build(tmp_path)
    with torch.no_grad():
        detector.model.visual.proj[0, 0] = float("nan")
    (answer,) = detector.predict([make_image(20, 20)])
    assert isinstance(answer, ScoreInvalid) and "nan" in str(answer)


def test_taught_anew_from_features_it_is_as_taught_from_the_images(tmp_path: Path) -> None:
    detector, images = few_shot(tmp_path), [make_image(60, 80, seed) for seed in range(14)]
    anew = look(detector, images)(range(10), [str(place) for place in range(10)], 1)
    taught = remember(detector, images[:10], target_false_reject_rate=0.2, review_share=0.2, seed=1)
    assert anew.calibration == taught.calibration and not anew.calibration.by_turns
    scores = [one.raw_score for one in taught.predict(images[10:]) if isinstance(one, Prediction)]
    assert anew.raw_scores(range(10, 14)) == pytest.approx(scores)

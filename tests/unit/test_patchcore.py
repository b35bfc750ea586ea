from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from storage.errors import ImageUnreadable, ModelAltered, ModelError, ModelMissing, ScoreInvalid, TeachingFailed
from tests.unit.kept_bytes import growth
from workers.detectors import artefact
from workers.detectors.detector import Image, Prediction
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.registry import load
from workers.detectors.registry import teach as teach_by_name

CONFIGURATION = PatchCoreConfiguration(image_size=64, bank_size=100, target_false_reject_rate=0.1)


def good_part(number: int) -> Image:
    """Brushed metal: noise along one direction."""
    random = np.random.default_rng(number)
    lines = random.integers(100, 140, (96, 1)).repeat(96, axis=1) + random.integers(-5, 6, (96, 96))
    return lines.astype(np.uint8)


def scratched(number: int) -> Image:
    image = good_part(number)
    image[30:60, 40:46] = 255
    return image


@pytest.fixture(scope="module")
def detector() -> PatchCore:
    torch.set_num_threads(1)
    return teach([good_part(number) for number in range(40)], configuration=CONFIGURATION, seed=3)


def scored(detector: PatchCore, *images: Image) -> list[Prediction]:
    answers = detector.predict(images)
    assert all(isinstance(answer, Prediction) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Prediction)]


def test_a_scratch_scores_above_the_threshold_and_a_good_part_below(detector: PatchCore) -> None:
    bad, good = scored(detector, scratched(100), good_part(101))
    assert good.anomaly_score < detector.ng_threshold <= bad.anomaly_score


def test_the_map_is_highest_where_the_scratch_is() -> None:
    detector = teach([good_part(number) for number in range(30)], configuration=replace(CONFIGURATION, image_size=128))
    (bad,) = scored(detector, scratched(100))
    row, column = np.unravel_index(int(bad.anomaly_map.argmax()), bad.anomaly_map.shape)
    assert bad.anomaly_map.shape == (8, 8)
    assert bad.anomaly_map.dtype == np.float32
    assert row in (2, 3, 4)
    assert column in (2, 3, 4)


def test_a_score_does_not_depend_on_the_batch(detector: PatchCore) -> None:
    images = [scratched(number) if number % 2 else good_part(number) for number in range(100, 108)]
    together = scored(detector, *images)
    alone = [scored(detector, image)[0] for image in images]
    assert [one.raw_score for one in together] == [one.raw_score for one in alone]
    assert all(np.array_equal(a.anomaly_map, b.anomaly_map) for a, b in zip(together, alone, strict=True))


def test_a_loaded_model_gives_the_same_scores_to_the_last_bit(detector: PatchCore, tmp_path: Path) -> None:
    sha256 = detector.save(tmp_path / "model")
    loaded = load(tmp_path / "model", sha256)
    images = [scratched(100), good_part(101)]
    answers = loaded.predict(images)
    assert [a.raw_score for a in answers if isinstance(a, Prediction)] == [
        s.raw_score for s in scored(detector, *images)
    ]
    assert loaded.calibration == detector.calibration and loaded.calibration.by_turns
    assert loaded.version == detector.version
    assert (loaded.ok_threshold, loaded.ng_threshold) == (detector.ok_threshold, detector.ng_threshold)
    assert loaded.save(tmp_path / "again") == sha256


def test_teaching_twice_with_one_seed_gives_the_same_weights(detector: PatchCore) -> None:
    again = teach([good_part(number) for number in range(40)], configuration=CONFIGURATION, seed=3)
    assert again.version == detector.version
    assert again.calibration == detector.calibration


@pytest.mark.parametrize("name", ["weights.safetensors", "model.yaml"])
def test_an_altered_file_is_named_with_both_hashes(detector: PatchCore, tmp_path: Path, name: str) -> None:
    sha256 = detector.save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
    with pytest.raises(ModelAltered) as caught:
        load(tmp_path, sha256)
    assert caught.value.path == tmp_path / name
    assert caught.value.wanted in str(caught.value)
    assert caught.value.found in str(caught.value)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.yaml"])
def test_a_missing_file_is_named(detector: PatchCore, tmp_path: Path, name: str) -> None:
    sha256 = detector.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelMissing, match=name):
        load(tmp_path, sha256)


def test_the_description_tells_an_auditor_how_the_thresholds_came_about(detector: PatchCore, tmp_path: Path) -> None:
    detector.save(tmp_path)
    described = yaml.safe_load((tmp_path / "model.yaml").read_text())
    assert described["detector"] == "patchcore"
    assert described["calibration"]["good_raw_scores"] == list(detector.calibration.good_raw_scores)
    assert described["thresholds"] == {"ok": detector.ok_threshold, "ng": 0.5}
    assert len(described["backbone"]["sha256"]) == 64


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 700), (33, 47), (97, 65, 3)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_odd_images_get_an_answer(detector: PatchCore, shape: tuple[int, ...], depth: type) -> None:
    (answer,) = scored(detector, np.full(shape, 77, depth))
    assert 0 <= answer.anomaly_score <= 1
    assert np.isfinite(answer.anomaly_map).all()


def test_an_image_that_cannot_be_scored_fails_alone(detector: PatchCore) -> None:
    answers = detector.predict([good_part(101), np.zeros((0, 4), np.uint8), good_part(102)])
    assert [type(answer) for answer in answers] == [Prediction, ImageUnreadable, Prediction]


def test_a_score_that_is_not_a_number_is_that_images_failure(detector: PatchCore) -> None:
    poisoned = detector.tensors | {"centre": torch.full_like(detector.tensors["centre"], torch.nan)}
    broken = PatchCore(CONFIGURATION, poisoned, detector.calibration, detector.created_at, detector.eye)
    (answer,) = broken.predict([good_part(101)])
    assert isinstance(answer, ScoreInvalid)


def test_too_few_known_good_images_are_refused_with_how_many_are_needed() -> None:
    with pytest.raises(TeachingFailed, match="at least 14") as caught:
        teach([good_part(number) for number in range(5)], configuration=CONFIGURATION)
    assert (caught.value.needed, caught.value.given) == (14, 5)


def test_images_of_too_few_parts_are_refused_however_many_there_are() -> None:
    images, groups = [good_part(number) for number in range(26)], [str(number // 2) for number in range(26)]
    with pytest.raises(TeachingFailed, match=r"26 known-good images of 13 parts .* at least 14") as caught:
        teach(images, groups=groups, configuration=CONFIGURATION)
    assert (caught.value.needed, caught.value.given) == (14, 13)


def test_each_part_is_calibrated_on_as_one_scores_it_that_learned_from_the_others_alone() -> None:
    images, groups = [good_part(number) for number in range(32)], [str(number // 2) for number in range(32)]
    images[6] = images[7] = scratched(6)
    detector = teach(images, groups=groups, configuration=CONFIGURATION, seed=3)
    parts = detector.calibration.good_parts  # in the order of their scores
    assert parts[-2] == parts[-1]  # the scratched part's two images: its twin would have hidden each of them
    learned_from, to_come = scored(detector, scratched(6), scratched(100))
    assert learned_from.raw_score < detector.calibration.good_raw_scores[-1]
    assert learned_from.raw_score < to_come.raw_score


def test_groups_that_are_not_one_an_image_are_refused() -> None:
    with pytest.raises(TeachingFailed, match="20 known-good images were given and 3 groups"):
        teach([good_part(number) for number in range(20)], groups=["a", "b", "c"], configuration=CONFIGURATION)


def test_a_saved_model_knows_which_scores_are_of_one_part(tmp_path: Path) -> None:
    images, groups = [good_part(number) for number in range(40)], [str(number // 2) for number in range(40)]
    detector = teach(images, groups=groups, configuration=CONFIGURATION, seed=3)
    assert sorted(detector.calibration.good_parts) == [number // 2 for number in range(40)]
    assert load(tmp_path, detector.save(tmp_path)).calibration == detector.calibration


def test_a_taught_image_that_is_none_is_named_by_its_number() -> None:
    with pytest.raises(TeachingFailed, match="known-good image 2"):
        teach([good_part(0), np.zeros((0, 4), np.uint8)], configuration=CONFIGURATION)


def large_part(number: int, *, scratch: bool = False) -> Image:
    """A cloudy surface on a large frame; the scratch is half a pixel wide where the frame is shrunk to 128 pixels."""
    random = np.random.default_rng(number)
    clouds = cv2.resize(random.normal(0, 12, (48, 64)).astype(np.float32), (1024, 768), interpolation=cv2.INTER_CUBIC)
    surface = 110 + clouds + random.normal(0, 3, (768, 1024))
    if scratch:
        row, column = random.integers(20, 720), random.integers(20, 980)
        surface[row : row + 20, column : column + 4] += 110
    return surface.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("tiles", "shape"), [("1x1", (8, 8)), ("3x4", (22, 29))])
def test_a_small_scratch_on_a_large_frame_is_seen_in_tiles_and_vanishes_without(
    tiles: str, shape: tuple[int, int]
) -> None:
    torch.set_num_threads(1)
    configuration = replace(CONFIGURATION, image_size=128, tiles=tiles, bank_size=1000)
    detector = teach([large_part(number) for number in range(24)], configuration=configuration, seed=3)
    scratched_parts = scored(detector, *(large_part(100 + number, scratch=True) for number in range(6)))
    same_parts = scored(detector, *(large_part(100 + number) for number in range(6)))
    rise = np.median([bad.raw_score - good.raw_score for bad, good in zip(scratched_parts, same_parts, strict=True)])
    assert scratched_parts[0].anomaly_map.shape == shape
    assert rise > 1 if tiles == "3x4" else rise < 0.1  # in standard deviations of good parts


def test_a_model_of_another_version_is_refused(detector: PatchCore, tmp_path: Path) -> None:
    sha256 = detector.save(tmp_path)
    saved = artefact.read(tmp_path, sha256)
    older = {key: value for key, value in saved.configuration.items() if key != "local_contrast"}
    with pytest.raises(ModelError, match=r"another version of adline \(local_contrast differ\); teach it anew"):
        PatchCore.restore(replace(saved, configuration=older))


def test_an_unknown_detector_is_answered_with_those_there_are() -> None:
    with pytest.raises(ModelError, match=r'"guess"; allowed: anomalyclip, patchcore'):
        teach_by_name("guess", [], image_size=64, target_false_reject_rate=0.1, review_share=0.1, seed=0)


def test_progress_counts_the_images() -> None:
    counted: list[int] = []
    images = (good_part(number) for number in range(20))
    teach(images, configuration=replace(CONFIGURATION, bank_size=10), progress=counted.append)
    assert counted[-1] == 20


def test_scoring_keeps_nothing_of_the_batches_it_scored(detector: PatchCore) -> None:
    batch = [scratched(100), good_part(101)]
    tensors, others = growth(detector, batch)
    assert tensors == 0
    assert others < 22_000, "less than the features of one image, after eighteen more batches"

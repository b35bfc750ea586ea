"""PatchCore on the visual tower of a CLIP: a tiny one, whose weights are in a models folder as if imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from storage.errors import ModelError, ModelShapeWrong, SettingsError, WeightsMissing
from tests.unit import tiny_clip, tiny_weights
from workers.detectors import artefact, registry
from workers.detectors.backbone import BackboneSource
from workers.detectors.clip_tower import CLIP_FILE, ClipTower, TowerFacts
from workers.detectors.detector import Detector, Image, Prediction
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach
from workers.detectors.weight_folder import find_clip

CONFIGURATION = PatchCoreConfiguration(image_size=70, bank_size=200, target_false_reject_rate=0.1)
FACTS = TowerFacts("ViT-tiny:random", (1, 3), tiny_weights.CHOICES)


def good_part(number: int) -> Image:
    """A grained surface."""
    return np.random.default_rng(number).integers(100, 140, (96, 96, 3)).astype(np.uint8)


def dented(number: int) -> Image:
    image = good_part(number)
    image[24:48, 32:56] = 255
    return image


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_weights.store_clip(folder)
    return folder


@pytest.fixture(scope="module")
def detector(models: Path) -> PatchCore:
    torch.set_num_threads(1)
    source = BackboneSource(models, tiny_weights.CLIP)
    return teach([good_part(number) for number in range(40)], configuration=CONFIGURATION, source=source)


def answers(detector: Detector, *images: Image) -> list[Prediction]:
    found = [one for one in detector.predict(images) if isinstance(one, Prediction)]
    assert len(found) == len(images)
    return found


def test_a_dent_scores_above_the_threshold_and_the_map_shows_where_it_is(detector: PatchCore) -> None:
    bad, good = answers(detector, dented(100), good_part(101))
    assert good.anomaly_score < detector.ng_threshold <= bad.anomaly_score
    # 70 pixels are nearest to 9 patches of 8.
    assert bad.anomaly_map.shape == (9, 9) and detector.image_size == 72
    row, column = np.unravel_index(int(bad.anomaly_map.argmax()), bad.anomaly_map.shape)
    assert 2 <= row <= 4 and 3 <= column <= 5


def test_a_saved_model_shares_the_weights_and_scores_the_same_to_the_last_bit(
    detector: PatchCore, models: Path, tmp_path: Path
) -> None:
    folder = models / "castings-1"
    sha256 = detector.save(folder)
    assert (folder / CLIP_FILE).samefile(find_clip(tiny_weights.CLIP, models).file)
    loaded = registry.load(folder, sha256)
    for found, expected in zip(
        answers(loaded, dented(100), good_part(101)), answers(detector, dented(100), good_part(101)), strict=True
    ):
        assert found.raw_score == expected.raw_score and np.array_equal(found.anomaly_map, expected.anomaly_map)
    assert loaded.version == detector.version and loaded.save(models / "again") == sha256
    described = yaml.safe_load((folder / "model.yaml").read_text())
    assert described["backbone"]["name"] == tiny_weights.CLIP and described["backbone"]["layers"] == [1, 2]
    assert CLIP_FILE in described["files"]


def test_the_tokens_are_those_of_the_whole_tower_and_later_blocks_are_left_out() -> None:
    weights = tiny_clip.weights()
    tower = ClipTower(replace(FACTS, layers=(1, 2)), Path("clip"), weights, 32, contrast=False)
    assert len(tower.tower.transformer.blocks()) == 2
    whole = tiny_clip.model(image_size=32, dpam_layer=1, features_list=(1, 2, 3)).visual
    image = good_part(7)[:32, :32]
    pixels = torch.from_numpy(image[:, :, ::-1].copy()).float().permute(2, 0, 1) / 255  # (3, 32, 32)
    with torch.inference_mode():
        _, taps = whole(((pixels - tower.mean) / tower.std)[None])
    for found, tap in zip(tower.features(image), taps, strict=False):
        expected: Tensor = tap[0, 1:]
        expected = (expected - expected.mean(1, keepdim=True)) / expected.std(1, correction=0, keepdim=True)
        assert (found - expected).abs().max() < 1e-3


def test_weights_that_are_not_there_are_told_with_the_command_that_gets_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="adline model pull ViT-B-16:openai"):
        teach([], configuration=CONFIGURATION, source=BackboneSource(tmp_path, "ViT-B/16"))


def test_blocks_that_the_tower_does_not_have_are_refused(models: Path) -> None:
    with pytest.raises(SettingsError, match=r"features_list: given \[2, 4\], allowed rising block numbers from 1 to 3"):
        teach([], configuration=CONFIGURATION, source=BackboneSource(models, tiny_weights.CLIP, (2, 4)))


def test_weights_of_other_shapes_are_refused() -> None:
    weights = tiny_clip.weights()
    weights["visual.transformer.resblocks.1.attn.in_proj_weight"] = torch.zeros(3, 64)
    with pytest.raises(ModelShapeWrong, match="size mismatch"):
        ClipTower(FACTS, Path("clip"), weights, 32, contrast=False)
    weights["visual.transformer.resblocks.1.attn.in_proj_weight"] = torch.full((192, 64), torch.nan)
    with pytest.raises(ModelShapeWrong, match="NaN"):
        ClipTower(FACTS, Path("clip"), weights, 32, contrast=False)


def test_a_model_without_its_tower_is_refused(detector: PatchCore, tmp_path: Path) -> None:
    saved = artefact.read(tmp_path, detector.save(tmp_path))
    with pytest.raises(ModelError, match=f"the model has no {CLIP_FILE}"):
        PatchCore.restore(replace(saved, shared={}))
    with pytest.raises(ModelError, match="the backbone is not one this version knows"):
        PatchCore.restore(replace(saved, backbone={"name": "ViT", "layers": [1]}))

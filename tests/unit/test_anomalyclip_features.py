"""Features of an AnomalyCLIP's visual tower that are kept: which they are, what is kept of them, how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from storage.errors import ScoreInvalid
from tests.unit.test_anomalyclip_detector import build, few_shot, make_image
from workers.detectors import good_patches
from workers.detectors.anomalyclip import AnomalyCLIPConfig, ImageFeatures
from workers.detectors.anomalyclip_detector import AnomalyCLIPDetector, ClipFile
from workers.detectors.anomalyclip_features import NOT_SEEN_WITH, key_of, packed, unpacked
from workers.detectors.anomalyclip_teaching import remember_features
from workers.detectors.coreset import coreset
from workers.detectors.good_patches import GoodPatches, patches_of
from workers.detectors.read_when_asked import ReadWhenAsked

CHANGES: dict[str, Any] = {
    "patch_size": 16,
    "native_grid": 7,
    "vision_width": 512,
    "vision_layers": 23,
    "vision_mlp_width": 1024,
    "vision_head_width": 32,
    "text_width": 512,
    "text_layers": 11,
    "text_mlp_width": 1024,
    "text_head_width": 32,
    "context_length": 70,
    "embedding_width": 512,
    "activation": "gelu",
    "layer_norm_eps": 1e-6,
    "image_size": 336,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "image_interpolation": "bilinear",
    "position_interpolation": "bicubic",
    "class_name": "cell",
    "normal_template": "flawless {}",
    "abnormal_template": "broken {}",
    "n_ctx": 8,
    "depth": 5,
    "t_n_ctx": 2,
    "compound_precision": "float32",
    "dpam_layer": 13,
    "features_list": (12, 24),
    "ln_post_on_image_feature": True,
    "temperature": 0.1,
    "map_fusion": "mean",
    "sigma": 2.0,
    "truncate": 3.0,
}


@pytest.mark.parametrize("name", [field.name for field in fields(AnomalyCLIPConfig)])
def test_the_key_changes_with_what_the_image_side_reads_and_with_nothing_else(name: str) -> None:
    one = AnomalyCLIPConfig()
    other = replace(one, **{name: CHANGES[name]} | ({"features_list": (23,)} if name == "vision_layers" else {}))
    assert (key_of(one, "a") != key_of(other, "a")) is (name not in NOT_SEEN_WITH)


def test_the_key_changes_with_the_clip_and_not_with_prompts_memory_or_calibration(tmp_path: Path) -> None:
    alone, both = build(tmp_path), few_shot(tmp_path)
    learned = build(tmp_path)
    with torch.no_grad():
        learned.model.prompt_learner.ctx_pos.add_(1)
    assert alone.look_key == both.look_key == learned.look_key
    assert len({alone.version, both.version, AnomalyCLIPDetector(learned.model, learned.clip).version}) == 3
    other = tmp_path / "other.safetensors"
    other.write_bytes(alone.clip.path.read_bytes() + b" ")
    assert AnomalyCLIPDetector(alone.model, ClipFile("ViT-tiny:random", other)).look_key != alone.look_key


def test_a_clip_s_file_is_read_for_its_hash_once(tmp_path: Path) -> None:
    detector = few_shot(tmp_path)
    key = detector.look_key
    detector.clip.path.unlink()
    assert detector.with_learned(memory=None).look_key == detector.look_key == key


def features(*scales: float) -> ImageFeatures:
    draw = torch.Generator().manual_seed(0)
    return ImageFeatures(torch.randn(1, 4, generator=draw), [torch.randn(1, 5, 4, generator=draw) * s for s in scales])


def test_what_is_kept_is_half_and_what_is_read_is_single() -> None:
    kept = packed(features(1, 10))
    assert {name: str(one.dtype) for name, one in kept.items()} == dict.fromkeys(
        ("image", "patches.0", "patches.1"), "float16"
    )
    read, given = unpacked(kept), features(1, 10)
    assert {read.image.dtype, *(one.dtype for one in read.patches)} == {torch.float32}
    assert torch.equal(read.image, given.image.half().float())
    assert all(torch.equal(one, two.half().float()) for one, two in zip(read.patches, given.patches, strict=True))
    again = packed(read)
    assert all(np.array_equal(again[name], kept[name]) for name in kept)


def test_what_does_not_fit_into_half_precision_is_kept_in_single() -> None:
    given = features(1, 1e6)
    kept = packed(given)
    assert [str(kept[name].dtype) for name in ("image", "patches.0", "patches.1")] == ["float16", "float16", "float32"]
    assert torch.equal(unpacked(kept).patches[1], given.patches[1])


def test_more_blocks_than_ten_stay_in_their_order() -> None:
    given = features(*range(1, 13))
    read = unpacked(dict(sorted(packed(given).items())))
    assert all(torch.equal(one, two.half().float()) for one, two in zip(read.patches, given.patches, strict=True))


def test_a_score_from_features_is_the_score_of_the_image(tmp_path: Path) -> None:
    detector, image = few_shot(tmp_path), make_image(60, 80, 7)
    (whole,) = detector.predict([image])
    said = detector.score_features(detector.features([image]))
    assert said.raw_score == pytest.approx(getattr(whole, "raw_score", None), abs=1e-6)
    rounded = unpacked(packed(detector.features([image])))
    assert detector.score_features(rounded).raw_score == pytest.approx(said.raw_score, abs=1e-3)
    with pytest.raises(ScoreInvalid, match="nan"):
        detector.score_features(replace(rounded, image=rounded.image * torch.nan))


def all_at_once(images: Sequence[Sequence[Tensor]], seed: int) -> list[Tensor]:
    """As patches were chosen while all of them were in memory."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for block in zip(*images, strict=True):
        patches = torch.cat([patches_of(tokens)[0] for tokens in block])
        if len(patches) > good_patches.MOST_CONSIDERED:
            patches = patches[torch.randperm(len(patches), generator=generator)[: good_patches.MOST_CONSIDERED]]
        if len(patches) > good_patches.MOST_REMEMBERED:
            chosen = coreset(patches, good_patches.MOST_REMEMBERED, good_patches.PROJECTION, generator)
            patches = patches[chosen]
        found.append(patches)
    return found


@pytest.mark.parametrize(("considered", "remembered"), [(1000, 1000), (1000, 40), (150, 40), (150, 150), (150, 1000)])
def test_patches_read_image_by_image_are_those_chosen_among_all_at_once(
    monkeypatch: pytest.MonkeyPatch, considered: int, remembered: int
) -> None:
    monkeypatch.setattr(good_patches, "MOST_CONSIDERED", considered)
    monkeypatch.setattr(good_patches, "MOST_REMEMBERED", remembered)
    draw = torch.Generator().manual_seed(1)
    images = [[torch.randn(1, 17, 32, generator=draw) for _ in range(3)] for _ in range(20)]
    read: list[int] = []

    def reading(place: int) -> list[Tensor]:
        read.append(place)
        return images[place]

    memory = GoodPatches.remember(ReadWhenAsked(range(20), reading), seed=5)
    wanted = all_at_once(images, seed=5)
    assert all(torch.equal(one, other) for one, other in zip(memory.blocks, wanted, strict=True))
    assert read == list(range(20)), "each image once"


def test_a_memory_from_features_that_are_read_when_asked_is_the_same(tmp_path: Path) -> None:
    detector = build(tmp_path)
    kept = [packed(detector.features([make_image(60, 80, seed)])) for seed in range(12)]
    asked: list[int] = []

    def read(place: int) -> ImageFeatures:
        asked.append(place)
        return unpacked(kept[place])

    all_read = [unpacked(one) for one in kept]
    eager, lazy = (
        remember_features(detector, some, target_false_reject_rate=0.2, review_share=0.2, seed=3)
        for some in (all_read, ReadWhenAsked(range(12), read))
    )
    assert eager.version == lazy.version and eager.calibration == lazy.calibration
    assert sorted(asked) == list(range(12))


def test_what_is_read_when_asked_is_a_sequence() -> None:
    squares = ReadWhenAsked([3, 1, 2], lambda name: name**2)
    assert (len(squares), list(squares), list(squares[1:]), squares[-1]) == (3, [9, 1, 4], [1, 4], 4)

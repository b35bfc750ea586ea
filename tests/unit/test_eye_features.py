"""What a PatchCore sees of tiles, or with a CLIP, as it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit import tiny_weights
from tests.unit.test_clip_tower import FACTS, good_part
from workers.detectors.clip_tower import ClipTower
from workers.detectors.eye_features import key_of, packed, unpacked
from workers.detectors.patchcore import Eye, PatchCoreConfiguration
from workers.detectors.weight_folder import find_clip


def eye(folder: Path, clip: int | None = None, contrast: bool = True, side: int = 64, tiles: str = "1x1") -> Eye:
    """clip: the seed of its weights."""
    configuration = PatchCoreConfiguration(image_size=side, tiles=tiles, local_contrast=contrast)
    if clip is None:
        return Eye(configuration)
    models = folder / str(clip)
    tiny_weights.store_clip(models, clip)
    stored = find_clip(tiny_weights.CLIP, models)
    return Eye(configuration, ClipTower(FACTS, stored.file, stored.load(), side, contrast=contrast))


@pytest.mark.parametrize("clip", [None, 0])
def test_what_is_kept_of_tiles_gives_their_patches(tmp_path: Path, clip: int | None) -> None:
    one, image = eye(tmp_path, clip, tiles="3x4"), good_part(1)
    kept = packed(one.features(image))
    read = unpacked(dict(sorted(kept.items(), reverse=True)), one)
    again = packed(read)
    assert {str(array.dtype) for array in kept.values()} == {"float16"} and len(read) == 12
    assert all((again[name] == kept[name]).all() for name in kept)
    for tile, wanted in zip(read, one.patches(image), strict=True):
        found = one.backbone.patches_of(tile)
        assert all(torch.allclose(a, b, rtol=2e-3, atol=2e-2) for a, b in zip(found, wanted, strict=True))


def test_many_blocks_and_tiles_come_back_in_their_order(tmp_path: Path) -> None:
    one, count = eye(tmp_path, 0), 12
    tiles = [[torch.full((4, 8), 100 * tile + block) for block in range(count)] for tile in range(count)]
    kept = packed(tiles)
    read = unpacked(kept, one)
    assert [[float(block[0, 0]) for block in tile] for tile in read] == [
        [100 * tile + block for block in range(count)] for tile in range(count)
    ]


def test_the_key_is_that_of_the_backbone_and_of_the_tiles(tmp_path: Path) -> None:
    keys = [
        key_of(one)
        for one in (
            eye(tmp_path),
            eye(tmp_path, tiles="2x2"),
            eye(tmp_path, side=96, tiles="2x2"),
            eye(tmp_path, contrast=False),
            eye(tmp_path, 0),
            eye(tmp_path, 1),
            eye(tmp_path, 0, tiles="2x2"),
            eye(tmp_path, 0, contrast=False),
            eye(tmp_path, 0, side=96),
        )
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(eye(tmp_path, 0)) == keys[4], "the same each time"

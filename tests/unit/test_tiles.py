from __future__ import annotations

import numpy as np
import pytest

from storage.errors import ModelConfigurationWrong
from workers.detectors.tiles import Tiles

GRID = 16


@pytest.mark.parametrize("text", ["2x3", "1x1", "12x12"])
@pytest.mark.parametrize("shape", [(480, 640), (3000, 4000, 3), (97, 31), (5, 3), (1, 1)])
def test_every_pixel_is_in_a_tile_and_no_tile_is_empty(text: str, shape: tuple[int, ...]) -> None:
    image = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    seen = np.zeros(image.size, bool)
    for tile in Tiles.parse(text).cut(image.astype(np.uint16), GRID):
        assert tile.size
    for tile in Tiles.parse(text).cut(image, GRID):  # type: ignore[arg-type]  # numbers that tell pixels apart
        seen[tile.ravel()] = True
    assert seen.all()


def test_one_tile_is_the_frame_itself() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    (tile,) = Tiles(1, 1).cut(frame, GRID)
    assert np.array_equal(tile, frame)


def test_neighbours_overlap() -> None:
    left, right = Tiles(1, 2).cut(np.arange(3000, dtype=np.uint16)[None].repeat(100, axis=0), GRID)
    assert left[0, -1] - right[0, 0] == pytest.approx(3000 * 2 / 30, abs=2)


def test_maps_are_stitched_where_their_tiles_were_and_the_worse_counts() -> None:
    maps = [np.full((GRID, GRID), float(number)) for number in range(6)]
    whole = Tiles(2, 3).stitch(maps)
    assert whole.shape == (30, 44)
    assert (whole[0, 0], whole[0, -1], whole[-1, 0], whole[-1, -1]) == (0, 2, 3, 5)
    assert whole[0, 15] == 1  # in the first and in the second tile
    assert np.isfinite(whole).all()


@pytest.mark.parametrize("text", ["", "2", "0x1", "2x13", "-1x2", "2x3x4", "2 x 3", "axb"])
def test_what_is_no_tiling_is_refused(text: str) -> None:
    with pytest.raises(ModelConfigurationWrong, match="allowed: ROWSxCOLUMNS, each from 1 to 12"):
        Tiles.parse(text)


def test_a_frame_is_decoded_large_enough_for_its_tiles() -> None:
    assert Tiles.parse("2x3").minimum_side(256) == 768

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.detectors.local_contrast import local_contrast


def texture(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(100, 12, shape).astype(np.float32)


def test_exposure_and_shading_hardly_change_what_is_seen() -> None:
    part = texture(256, 256)
    shading = np.linspace(0.6, 1.4, 256, dtype=np.float32)
    seen = local_contrast(part)
    assert np.abs(local_contrast(0.7 * part) - seen).mean() < 4
    assert np.abs(local_contrast(part * shading) - seen).mean() < 4
    assert np.abs(part - 0.7 * part).mean() > 25


def test_a_scratch_stands_out() -> None:
    part = texture(256, 256)
    part[100:140, 120:123] += 80
    assert local_contrast(part)[110:130, 121].mean() > local_contrast(part).mean() + 60


@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (33, 5, 3), (256, 256, 3)])
@pytest.mark.parametrize("value", [0.0, 128.0, 255.0])
def test_a_blank_image_has_none(shape: tuple[int, ...], value: float) -> None:
    seen = local_contrast(np.full(shape, value, np.float32))
    assert seen.shape == shape
    assert seen.dtype == np.float32
    assert np.allclose(seen, 128, atol=0.01)


def test_grey_is_the_same_in_three_channels() -> None:
    grey = texture(64, 64)
    colour = local_contrast(grey[:, :, None].repeat(3, axis=2))
    assert np.allclose(colour, local_contrast(grey)[:, :, None], atol=0.01)

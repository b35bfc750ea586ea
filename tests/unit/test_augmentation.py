from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from storage.errors import SettingsError
from workers.detectors import augmentation
from workers.detectors.augmentation import Augmentation


def make_part(dtype: type[np.unsignedinteger[Any]] = np.uint8, channels: int = 3) -> tuple[Any, NDArray[np.uint8]]:
    """A dark part with one bright square that the mask marks."""
    mask = np.zeros((64, 64), np.uint8)
    mask[10:22, 40:56] = 255
    image = np.where(mask > 0, np.iinfo(dtype).max * 3 // 4, np.iinfo(dtype).max // 8).astype(dtype)
    return (np.repeat(image[:, :, None], channels, axis=2) if channels > 1 else image), mask


@pytest.mark.parametrize("seed", range(6))
def test_a_mask_goes_along_with_its_image(seed: int) -> None:
    image, mask = make_part()
    turned = Augmentation(rotations_degrees=(45, 90, 135), scale=(0.8, 1.2), horizontal_flip=0.5, vertical_flip=0.5)
    changed, moved = turned.apply(image, mask, np.random.default_rng(seed))
    assert moved is not None
    assert set(np.unique(moved)) <= {0, 255}
    bright = changed[:, :, 0] > 128
    assert (bright == (moved > 0)).mean() > 0.97
    assert bright.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_change_keeps_shape_and_type(dtype: type[np.unsignedinteger[Any]], channels: int) -> None:
    image, mask = make_part(dtype, channels)
    changed, moved = augmentation.AD_CLIP.apply(image, mask, np.random.default_rng(0))
    assert changed.shape == image.shape and changed.dtype == image.dtype
    assert moved is not None and moved.shape == mask.shape
    assert (changed != image).any()


def test_the_same_draw_gives_the_same_change() -> None:
    image, mask = make_part()
    once, again = (augmentation.AD_CLIP.apply(image, mask, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(once[0], again[0])
    assert np.array_equal(np.asarray(once[1]), np.asarray(again[1]))


def test_no_augmentation_changes_nothing() -> None:
    image, mask = make_part()
    changed, moved = Augmentation().apply(image, mask, np.random.default_rng(0))
    assert np.array_equal(changed, image)
    assert moved is not None and np.array_equal(moved, mask)
    assert not Augmentation().changes and augmentation.AD_CLIP.changes


@pytest.mark.parametrize(
    "changes",
    [
        {"rotations_degrees": (90.0,)},
        {"scale": (1.2, 1.3)},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"gaussian_noise": 0.2},
        {"salt_and_pepper": 0.2},
        {"horizontal_flip": 1.0},
        {"vertical_flip": 1.0},
    ],
)
def test_each_change_can_be_asked_for_by_itself(changes: dict[str, Any]) -> None:
    image, _ = make_part()
    different = [
        (Augmentation(**changes).apply(image, None, np.random.default_rng(seed))[0] != image).any() for seed in range(8)
    ]
    assert any(different)


def test_salt_and_pepper_turns_pixels_black_or_white() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    changed, _ = Augmentation(salt_and_pepper=0.5).apply(image, None, np.random.default_rng(3))
    assert set(np.unique(changed)) == {0, 100, 255}


@pytest.mark.parametrize("wrong", [{"brightness": 2.0}, {"horizontal_flip": -0.1}, {"scale": (2.0, 1.0)}])
def test_a_wrong_amount_is_answered_with_what_is_allowed(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"augmentation\.\w+: given .*, allowed"):
        Augmentation(**wrong)

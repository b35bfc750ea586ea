"""What prompts learn from an image in the store, without a look at the image."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from storage.image_store import ImageStore
from storage.images import describe
from storage.snapshot_models import ItemSource, SnapshotItem
from workers.retrain.material import Material
from workers.retrain.prompt_lessons import StoredSample

BOX: dict[str, Any] = {"kind": "box", "points": [[40, 30], [120, 90]], "mask_sha256": None}


def sample(folder: Path, suffix: str = ".jpg", seed: int = 0, is_anomaly: bool = True, **facts: Any) -> StoredSample:
    pixels = np.random.default_rng(seed).integers(0, 256, (301, 399, 3), np.uint8)
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    store, found = ImageStore(folder / "images"), describe(data)
    item = SnapshotItem(
        sha256=store.put(data, found.suffix).sha256,
        media_type=found.media_type,
        width=found.width,
        height=found.height,
        part_key="part",
        is_anomaly=is_anomaly,
        source=ItemSource.OPERATOR,
        **{"regions": [], **facts},
    )
    return StoredSample(Material([item], store, 64, 1.0), item)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_mask_is_as_large_as_the_image_would_be_decoded(tmp_path: Path, suffix: str) -> None:
    one = sample(tmp_path, suffix, regions=[BOX])
    assert one.mask is not None and one.mask.shape == one.image.shape[:2]
    assert one.mask.mean() == pytest.approx(80 * 60 / (399 * 301), rel=0.1)
    assert sample(tmp_path).mask is None


def test_a_sample_is_another_where_file_label_or_mask_is(tmp_path: Path) -> None:
    wider = BOX | {"points": [[40, 30], [160, 90]]}
    samples = [
        sample(tmp_path, regions=[BOX]),
        sample(tmp_path, regions=[wider]),
        sample(tmp_path),
        sample(tmp_path, is_anomaly=False),
        sample(tmp_path, seed=1),
    ]
    assert len({sha256(b"".join(map(bytes, one.identity()))).digest() for one in samples}) == len(samples)
    again = sample(tmp_path, regions=[BOX])
    assert [bytes(one) for one in again.identity()] == [bytes(one) for one in samples[0].identity()]

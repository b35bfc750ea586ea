"""Every kind of image file gets an anomaly score or a refusal that names it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from storage.errors import DatasetInvalid
from storage.images import encode
from tests.painted import good_part
from tests.unit.dataset_files import meta_entry, write_json
from workers.datasets.judging import Judgement, judge
from workers.datasets.read import read
from workers.datasets.sample import Dataset, Sample
from workers.datasets.truth import defect_mask
from workers.detectors.patchcore import PatchCore, PatchCoreConfiguration
from workers.detectors.patchcore_teaching import teach

ROTATED = 6
"""EXIF: what is stored lies on its side."""


@pytest.fixture(scope="module")
def detector() -> PatchCore:
    torch.set_num_threads(1)
    configuration = PatchCoreConfiguration(image_size=64, bank_size=50, target_false_reject_rate=0.1)
    return teach([good_part(number) for number in range(25)], configuration=configuration)


def pillow(image: Pillow.Image, format: str = "PNG", orientation: int = 1) -> bytes:
    stream, exif = io.BytesIO(), image.getexif()
    exif[274] = orientation
    image.save(stream, format, exif=exif)
    return stream.getvalue()


def colour() -> Pillow.Image:
    return Pillow.fromarray(good_part(1)).convert("RGB")


FILES: dict[str, Callable[[], bytes]] = {
    "grey.png": lambda: encode(good_part(1), "png"),
    "sixteen-bit.png": lambda: encode(good_part(1).astype(np.uint16) * 257, "png"),
    "sixteen-bit.tif": lambda: cv2.imencode(".tif", good_part(1).astype(np.uint16) * 257)[1].tobytes(),
    "alpha.png": lambda: pillow(colour().convert("RGBA")),
    "palette.png": lambda: pillow(colour().quantize(16)),
    "rotated.jpg": lambda: pillow(colour(), "JPEG", ROTATED),
    "one-pixel.png": lambda: encode(np.full((1, 1), 120, np.uint8), "png"),
    "hundred-megapixels.jpg": lambda: encode(np.full((10_000, 10_000), 120, np.uint8), "jpeg"),
}


def judged(detector: PatchCore, folder: Path, name: str, data: bytes) -> Judgement:
    (folder / name).write_bytes(data)
    sample = Sample(name, split="test", is_anomaly=False)
    return judge(Dataset(folder, (sample,)), [sample], detector, threads=1)[0]


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_image_is_scored(detector: PatchCore, tmp_path: Path, name: str) -> None:
    answer = judged(detector, tmp_path, name, FILES[name]()).prediction
    assert 0 <= answer.anomaly_score <= 1 and np.isfinite(answer.anomaly_map).all()


def test_depth_alpha_and_palette_do_not_change_what_a_part_scores(detector: PatchCore, tmp_path: Path) -> None:
    grey = judged(detector, tmp_path, "grey.png", FILES["grey.png"]()).prediction.raw_score
    for name in ("sixteen-bit.png", "sixteen-bit.tif", "alpha.png"):
        assert judged(detector, tmp_path, name, FILES[name]()).prediction.raw_score == pytest.approx(grey, abs=1e-4)


def test_an_image_above_a_hundred_megapixels_is_refused_by_name(detector: PatchCore, tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"large\.jpg: image: given '10001x10000 pixels; 100 megapixels"):
        judged(detector, tmp_path, "large.jpg", encode(np.zeros((10_000, 10_001), np.uint8), "jpeg"))


def test_a_score_that_is_not_a_number_stops_the_benchmark_and_names_the_image(
    detector: PatchCore, tmp_path: Path
) -> None:
    broken = {name: tensor.clone() for name, tensor in detector.tensors.items()}
    broken["mean"][:] = torch.nan
    odd = PatchCore(detector.configuration, broken, detector.calibration, detector.created_at, detector.eye)
    with pytest.raises(DatasetInvalid, match=r"grey\.png: image: given .*not a number"):
        judged(odd, tmp_path, "grey.png", FILES["grey.png"]())


def test_the_mask_of_a_rotated_image_is_that_of_the_upright_one(tmp_path: Path) -> None:
    (tmp_path / "part.jpg").write_bytes(pillow(Pillow.new("RGB", (40, 20), "grey"), "JPEG", ROTATED))
    entry = meta_entry("part.jpg", mask_path="mask.png", specie_name="dent", anomaly=1)
    write_json(tmp_path / "meta.json", {"train": {}, "test": {"lid": [entry]}})
    (tmp_path / "mask.png").write_bytes(encode(np.full((40, 20), 255, np.uint8), "png"))
    dataset = read(tmp_path)
    mask = defect_mask(dataset, dataset.samples[0])
    assert mask is not None and mask.shape == (40, 20)
    (tmp_path / "mask.png").write_bytes(encode(np.full((20, 40), 255, np.uint8), "png"))
    with pytest.raises(DatasetInvalid, match=r"given .40x20.; allowed: 20x40, the size of part\.jpg"):
        read(tmp_path)

"""Read a data set, whatever its layout; what is wrong with it is said before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from storage.errors import DatasetInvalid
from workers.datasets import coco, label_csv, meta, mvtec
from workers.datasets.files import facts
from workers.datasets.groups import grouped
from workers.datasets.sample import Dataset, Sample

LAYOUTS = (
    "meta.json (or meta_train.json, meta_test.json), a CSV with image_id and label, "
    "train/good and test/<defect> folders, or COCO's annotations.json"
)


def read(root: Path) -> Dataset:
    """The data set in this folder; DatasetInvalid names the file, the row, what was given and what is allowed."""
    if not root.is_dir():
        raise DatasetInvalid(root, "data set", given="no folder", allowed="a folder that is there")
    boxes = coco.tables(root)
    samples = grouped(root, _with_boxes(root, _labelled(root), boxes) if boxes else _labelled(root))
    if not samples:
        raise DatasetInvalid(root, "data set", given="no image", allowed="at least one image")
    _check_once(root, samples)
    for sample in samples:
        _check_regions(root, sample)
    return Dataset(root, tuple(sorted(samples, key=lambda sample: sample.path)))


def _labelled(root: Path) -> list[Sample]:
    """A table that lists the images says more than folders do."""
    if meta.present(root):
        return meta.read(root)
    if tables := label_csv.tables(root):
        return label_csv.read(root, tables)
    if mvtec.products(root) and (samples := mvtec.read(root)):
        return samples
    if boxes := coco.tables(root):
        return coco.read(root, boxes)
    raise DatasetInvalid(root, "layout", given="none that is known", allowed=LAYOUTS)


def _with_boxes(root: Path, samples: list[Sample], tables: coco.Tables) -> list[Sample]:
    boxes = {sample.path: sample.boxes for sample in coco.read(root, tables) if sample.boxes}
    for sample in samples:
        if boxes.get(sample.path) and not sample.is_anomaly:
            raise DatasetInvalid(
                root / sample.path, "boxes", given=f"on a {sample.label} image", allowed="an anomaly's"
            )
    return [replace(sample, boxes=boxes.get(sample.path, ())) for sample in samples]


def _check_once(root: Path, samples: Sequence[Sample]) -> None:
    seen: set[str] = set()
    for sample in samples:
        if sample.path in seen:
            raise DatasetInvalid(root, "image", given=sample.path, allowed="each image once")
        seen.add(sample.path)


def _check_regions(root: Path, sample: Sample) -> None:
    """A mask or a box that does not fit its image belongs to another one."""
    if sample.mask is None and not sample.boxes:
        return
    image = facts(root, sample.path)
    if sample.mask is not None:
        mask = facts(root, sample.mask)
        if (mask.width, mask.height) != (image.width, image.height):
            raise DatasetInvalid(
                root / sample.mask,
                "size of the mask",
                given=f"{mask.width}x{mask.height}",
                allowed=f"{image.width}x{image.height}, the size of {sample.path}",
            )
    for box in sample.boxes:
        # Half a pixel: annotation tools round.
        if box.x + box.width > image.width + 0.5 or box.y + box.height > image.height + 0.5:
            raise DatasetInvalid(
                root / sample.path, "box", given=box, allowed=f"inside the image of {image.width}x{image.height}"
            )

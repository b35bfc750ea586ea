"""The layout of MVTec AD: the folders are the labels.

    [<product>/]train/good/000.png
    [<product>/]test/<defect>/000.png      test/good/000.png
    [<product>/]ground_truth/<defect>/000_mask.png

Bergmann et al., "MVTec AD", CVPR 2019. Products may be nested (COMP/product); `grouth_truth`, as one data set's card
spells it, is read too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from storage.errors import DatasetInvalid
from storage.image_files import image_files
from workers.datasets.files import Place, name
from workers.datasets.sample import GOOD, UNNAMED_PRODUCT, Sample, Split

SPLITS: Final[tuple[Split, ...]] = ("train", "test")
TRUTHS: Final = ("ground_truth", "grouth_truth")
MASK_SUFFIX: Final = "_mask"
DEEPEST: Final = 3  # folders between the root and a product's train and test


def products(root: Path) -> list[Path]:
    """The folders that hold train or test."""
    return sorted(_products(root, DEEPEST))


def _products(folder: Path, deeper: int) -> Iterator[Path]:
    if any((folder / split).is_dir() for split in SPLITS):
        yield folder
    elif deeper:
        for below in folder.iterdir():
            if below.is_dir() and not below.name.startswith("."):
                yield from _products(below, deeper - 1)


def read(root: Path) -> list[Sample]:
    return [sample for folder in products(root) for sample in _read_product(root, folder)]


def _read_product(root: Path, folder: Path) -> Iterator[Sample]:
    relative = folder.relative_to(root).as_posix()
    product = UNNAMED_PRODUCT if relative == "." else name(relative, Place(folder), "product", nested=True)
    masks = _masks(folder)
    for split in SPLITS:
        for kind in _folders(folder / split):
            for image in _images(kind):
                yield Sample(
                    path=image.relative_to(root).as_posix(),
                    product=product,
                    split=split,
                    is_anomaly=kind.name != GOOD,
                    defect=None if kind.name == GOOD else name(kind.name, Place(kind), "defect class"),
                    mask=_taken(masks, split, kind.name, image.stem, root),
                )
    for mask in masks.values():
        raise DatasetInvalid(mask, "mask", given=mask.name, allowed="the mask of an image in test, <name>_mask.png")


def _masks(folder: Path) -> dict[tuple[str, str], Path]:
    """Mask files by defect class and by the name of their image."""
    found = [folder / truth for truth in TRUTHS if (folder / truth).is_dir()]
    if len(found) > 1:
        raise DatasetInvalid(folder, "ground truth", given=", ".join(TRUTHS), allowed="one of them")
    return {
        (kind.name, file.stem.removesuffix(MASK_SUFFIX)): file
        for truth in found
        for kind in _folders(truth)
        for file in _images(kind)
    }


def _taken(masks: dict[tuple[str, str], Path], split: Split, kind: str, stem: str, root: Path) -> str | None:
    """Take the mask of this image out, so that those left over belong to none."""
    mask = masks.pop((kind, stem), None) if split == "test" and kind != GOOD else None
    return None if mask is None else mask.relative_to(root).as_posix()


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(below for below in folder.iterdir() if below.is_dir() and not below.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    found = image_files(folder)
    if not found:
        raise DatasetInvalid(folder, "class", given="no image", allowed="at least one image file")
    return found

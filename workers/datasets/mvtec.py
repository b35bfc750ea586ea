"""The layout of MVTec AD: the folders are the labels.

    [<product>/]train/good/000.png
    [<product>/]test/<defect>/000.png      test/good/000.png
    [<product>/]ground_truth/<defect>/000_mask.png

Bergmann et al., "MVTec AD", CVPR 2019. Products may be nested (COMP/product); `grouth_truth`, as one data set's card
spells it, is read too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from storage.errors import DatasetInvalid
from storage.image_files import image_files
from workers.datasets.files import Place, name
from workers.datasets.sample import GOOD, UNNAMED_PRODUCT, Dataset, Sample, Split

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


def placed(dataset: Dataset) -> list[Sample]:
    """The samples under the paths of this layout; DatasetInvalid when it has no place for one."""
    check_products(dataset)
    nested = {sample.product for sample in dataset.samples} != {UNNAMED_PRODUCT}
    names = Counter(_folder(sample, nested) / Path(sample.path).name for sample in dataset.samples)
    return [_placed(dataset, sample, nested, names) for sample in dataset.samples]


def _placed(dataset: Dataset, sample: Sample, nested: bool, names: Counter[PurePosixPath]) -> Sample:
    folder, file = _folder(sample, nested), PurePosixPath(sample.path)
    # Two of one name, from folders that become one: the folders' names tell them apart.
    flat = file if names[folder / file.name] == 1 else PurePosixPath(sample.path.replace("/", "_"))
    mask = None
    if sample.mask is not None:
        truth = folder.parent.parent / TRUTHS[0] / folder.name
        mask = (truth / f"{flat.stem}{MASK_SUFFIX}{PurePosixPath(sample.mask).suffix}").as_posix()
        if sample.split != "test":
            raise Place(dataset.file(sample.path)).wrong("mask", sample.mask, "masks in test, in the MVTec layout")
    return replace(sample, path=(folder / flat.name).as_posix(), mask=mask)


def _folder(sample: Sample, nested: bool) -> PurePosixPath:
    return PurePosixPath(sample.product if nested else "", str(sample.split), sample.label)


def check_products(dataset: Dataset) -> None:
    """Products must be found again: no folder of a product below another's, none that looks like a split."""
    names = {sample.product for sample in dataset.samples}
    for product in names:
        parts = PurePosixPath(product)
        hidden = {above.as_posix() for above in parts.parents} & names
        if hidden or len(parts.parts) > DEEPEST or {*SPLITS, *TRUTHS} & set(parts.parts):
            raise Place(dataset.root).wrong(
                "product",
                product,
                f"at most {DEEPEST} folders deep, not below another product, none called train, test or ground_truth",
            )

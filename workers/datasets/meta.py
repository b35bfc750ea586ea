"""meta.json, as AnomalyCLIP's loader reads it.

    {"train": {product: [{"img_path", "mask_path", "cls_name", "specie_name", "anomaly"}, ...]}, "test": {...}}

Paths are relative to the file. A mask_path that is empty or a folder means that there is no mask. The two splits may
also stand in files of their own, meta_train.json and meta_test.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from storage.errors import DatasetInvalid
from workers.datasets.files import Place, defect_class, image_path, json_object, name
from workers.datasets.sample import UNNAMED_DEFECT, Sample, Split

META: Final = "meta.json"
SPLIT_FILES: Final[dict[Split, str]] = {"train": "meta_train.json", "test": "meta_test.json"}
KEYS: Final = ("img_path", "mask_path", "cls_name", "specie_name", "anomaly")


def present(root: Path) -> bool:
    return any((root / file).is_file() for file in (META, *SPLIT_FILES.values()))


def read(root: Path) -> list[Sample]:
    if (root / META).is_file():
        content = json_object(root / META)
        return [sample for split in SPLIT_FILES for sample in _read_split(root, root / META, split, content)]
    return [
        sample
        for split, file in SPLIT_FILES.items()
        if (root / file).is_file()
        for sample in _read_split(root, root / file, split, json_object(root / file))
    ]


def _read_split(root: Path, file: Path, split: Split, content: dict[str, Any]) -> Iterator[Sample]:
    products = content.get(split)
    if not isinstance(products, dict):
        raise DatasetInvalid(file, split, given=products, allowed="an object of products, each a list of images")
    for product, entries in products.items():
        if not isinstance(entries, list) or not entries:
            raise DatasetInvalid(file, f"{split}.{product}", given=entries, allowed="a list of at least one image")
        for number, entry in enumerate(entries):
            yield _sample(root, split, product, entry, Place(file, f"{split}.{product}[{number}]"))


def _sample(root: Path, split: Split, product: str, entry: object, place: Place) -> Sample:
    if not isinstance(entry, dict) or not set(KEYS) <= set(entry):
        raise place.wrong("image", entry, f"an object with {', '.join(KEYS)}")
    if entry["anomaly"] not in (0, 1):
        raise place.wrong("anomaly", entry["anomaly"], "0 or 1")
    if entry["cls_name"] != product:
        raise place.wrong("cls_name", entry["cls_name"], f'"{product}", under which the image is listed')
    is_anomaly = bool(entry["anomaly"])
    defect = defect_class(entry["specie_name"] or UNNAMED_DEFECT, place, "specie_name") if is_anomaly else None
    return Sample(
        path=image_path(root, entry["img_path"], place, "img_path"),
        product=name(product, place, "cls_name", nested=True),
        split=split,
        is_anomaly=is_anomaly,
        defect=defect,
        mask=_mask(root, entry["mask_path"], place) if is_anomaly else None,
    )


def _mask(root: Path, given: object, place: Place) -> str | None:
    if not given or (isinstance(given, str) and ".." not in given and (root / given).is_dir()):
        return None
    return image_path(root, given, place, "mask_path")


def write(root: Path, samples: Sequence[Sample]) -> None:
    """meta.json with both splits; an empty mask_path says that there is no mask."""
    content: dict[str, dict[str, list[dict[str, Any]]]] = {split: {} for split in SPLIT_FILES}
    for sample in samples:
        entry = (sample.path, sample.mask or "", sample.product, sample.label, int(bool(sample.is_anomaly)))
        content[str(sample.split)].setdefault(sample.product, []).append(dict(zip(KEYS, entry, strict=True)))
    (root / META).write_text(json.dumps(content, indent=1), encoding="utf-8")

"""A table of labels beside the images: a CSV file with the columns image_id, label and description.

image_id is the image's path, or its name with or without suffix where one image alone has that name. The label is
normal or good, or anomaly or error, or empty. Further columns are read where they are there: split, product,
defect_class, mask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from storage.errors import DatasetInvalid
from storage.image_files import is_image_name
from workers.datasets import table
from workers.datasets.files import Place, defect_class, image_path, name, relative
from workers.datasets.sample import UNNAMED_DEFECT, UNNAMED_PRODUCT, Sample, Split
from workers.datasets.table import Row, header, rows

TABLE: Final = "labels.csv"
COLUMNS: Final = ["image_id", "label", "description", "split", "product", "defect_class", "mask"]
LABELS: Final[dict[str, bool | None]] = {"normal": False, "good": False, "anomaly": True, "error": True, "": None}
SPLITS: Final[dict[str, Split | None]] = {"train": "train", "test": "test", "": None}


def tables(root: Path) -> list[Path]:
    """The CSV files of the folder that are tables of labels."""
    return [file for file in sorted(root.glob("*.csv")) if {"image_id", "label"} <= set(header(file))]


def read(root: Path, tables: list[Path]) -> list[Sample]:
    if len(tables) > 1:
        raise DatasetInvalid(root, "tables of labels", given=[file.name for file in tables], allowed="one")
    images = Images(root)
    return [_sample(images, row, place) for place, row in rows(tables[0])]


def _sample(images: Images, row: Row, place: Place) -> Sample:
    label, split = row["label"].lower(), row.get("split", "")
    if label not in LABELS:
        raise place.wrong("label", row["label"], "normal or good, anomaly or error, or nothing")
    if split not in SPLITS:
        raise place.wrong("split", split, "train, test, or nothing")
    is_anomaly, defect, mask = LABELS[label], row.get("defect_class", ""), row.get("mask", "")
    if not is_anomaly and (defect or mask):
        raise place.wrong("defect_class, mask", defect or mask, "nothing where the label is not anomaly")
    return Sample(
        path=images.find(row["image_id"], place),
        product=name(row.get("product") or UNNAMED_PRODUCT, place, "product", nested=True),
        split=SPLITS[split],
        is_anomaly=is_anomaly,
        defect=defect_class(defect or UNNAMED_DEFECT, place, "defect_class") if is_anomaly else None,
        mask=image_path(images.root, mask, place, "mask") if mask else None,
        note=row.get("description", ""),
    )


def write(root: Path, samples: Sequence[Sample]) -> None:
    words = {None: "", False: "normal", True: "anomaly"}
    cells = (
        (
            sample.path,
            words[sample.is_anomaly],
            sample.note,
            sample.split or "",
            sample.product,
            sample.defect or "",
            sample.mask or "",
        )
        for sample in samples
    )
    table.write(root / TABLE, COLUMNS, cells)


class Images:
    """The image files under a folder, found by path or by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.by_name: dict[str, list[str]] = defaultdict(list)
        for file in sorted(root.rglob("*")):
            if is_image_name(file.name):
                path = file.relative_to(root).as_posix()
                for known_as in {file.name, file.stem}:
                    self.by_name[known_as].append(path)

    def find(self, given: str, place: Place) -> str:
        path = relative(given, place, "image_id")
        if (self.root / path).is_file():
            return image_path(self.root, path, place, "image_id")
        found = self.by_name.get(path, [])
        if len(found) != 1:
            many = f"; {len(found)} images have that name: {', '.join(found[:3])}" if found else ""
            raise place.wrong("image_id", given, f"the path or the name of one image under {self.root}{many}")
        return found[0]

"""Boxes as COCO writes them, the object-detection trade's standard.

    {"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}],
     "annotations": [{"image_id", "category_id", "bbox": [x, y, width, height]}]}

A file annotations.json or _annotations.coco.json at the root, or one in each of train/ and test/; file_name is relative
to the file. An image without an annotation is good. Beside another layout the file only adds its boxes.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from storage.errors import DatasetInvalid
from workers.datasets.files import Place, defect_class, facts, image_path, json_object
from workers.datasets.sample import UNNAMED_DEFECT, Box, Sample, Split

NAMES: Final = ("annotations.json", "_annotations.coco.json")
FOLDERS: Final[dict[str, Split | None]] = {".": None, "train": "train", "test": "test"}
Tables = Mapping[Path, Split | None]
"""Annotation files, and the split each is of."""
Marks = list[tuple[str, Box]]
"""Of one image: defect class and box."""


def tables(root: Path) -> dict[Path, Split | None]:
    """The annotation files, and the split each is of."""
    return {
        root / folder / file: split
        for folder, split in FOLDERS.items()
        for file in NAMES
        if (root / folder / file).is_file()
    }


def read(root: Path, tables: Tables) -> list[Sample]:
    return [sample for file, split in tables.items() for sample in _read_file(root, file, split)]


def _read_file(root: Path, file: Path, split: Split | None) -> Iterator[Sample]:
    content = json_object(file)
    images = {key: path for key, path in _images(root, file, content)}
    marks = _marks(file, content, images)
    for key, path in images.items():
        found = marks.get(key, [])
        yield Sample(
            path=path,
            split=split,
            is_anomaly=bool(found),
            defect=_largest(found) if found else None,
            boxes=tuple(sorted(box for _, box in found)),
        )


def _images(root: Path, file: Path, content: dict[str, Any]) -> Iterator[tuple[object, str]]:
    seen: set[object] = set()
    for place, entry in _entries(file, content, "images", ("id", "file_name")):
        if not isinstance(entry["id"], int | str) or entry["id"] in seen:
            raise place.wrong("id", entry["id"], "a number or text that no other image has")
        seen.add(entry["id"])
        path = image_path(file.parent, entry["file_name"], place, "file_name")
        yield entry["id"], (file.parent / path).relative_to(root).as_posix()


def _marks(file: Path, content: dict[str, Any], images: Mapping[object, str]) -> dict[object, Marks]:
    categories = {
        str(entry["id"]): defect_class(entry["name"] or UNNAMED_DEFECT, place, "name")
        for place, entry in _entries(file, content, "categories", ("id", "name"))
    }
    marks: dict[object, Marks] = defaultdict(list)
    for place, entry in _entries(file, content, "annotations", ("image_id", "category_id", "bbox")):
        if not isinstance(entry["image_id"], int | str) or entry["image_id"] not in images:
            raise place.wrong("image_id", entry["image_id"], "the id of one of the images")
        if str(entry["category_id"]) not in categories:
            raise place.wrong("category_id", entry["category_id"], f"one of {', '.join(categories) or '(none listed)'}")
        marks[entry["image_id"]].append((categories[str(entry["category_id"])], _box(entry["bbox"], place)))
    return marks


def _entries(
    file: Path, content: dict[str, Any], key: str, needed: tuple[str, ...]
) -> Iterator[tuple[Place, dict[str, Any]]]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise DatasetInvalid(file, key, given=type(entries).__name__, allowed="a list")
    for number, entry in enumerate(entries):
        place = Place(file, f"{key}[{number}]")
        if not isinstance(entry, dict) or not set(needed) <= set(entry):
            raise place.wrong("entry", entry, f"an object with {', '.join(needed)}")
        yield place, entry


def _box(given: object, place: Place) -> Box:
    if isinstance(given, list) and len(given) == 4 and all(_is_number(value) for value in given):
        x, y, width, height = map(float, given)
        if x >= 0 and y >= 0 and width > 0 and height > 0:
            return Box(x, y, width, height)
    raise place.wrong("bbox", given, "[x, y, width, height] in pixels, x and y from 0, width and height above 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _largest(marks: Marks) -> str:
    """The defect class with the largest area speaks for the image; of equal ones the first by name."""
    areas: dict[str, float] = defaultdict(float)
    for defect, box in marks:
        areas[defect] += box.width * box.height
    return min(areas, key=lambda defect: (-areas[defect], defect))


def write(root: Path, samples: Sequence[Sample]) -> None:
    """annotations.json of the images that have boxes; no file when none has."""
    boxed = [sample for sample in samples if sample.boxes]
    if not boxed:
        return
    numbers = {defect: number for number, defect in enumerate(sorted({sample.label for sample in boxed}), start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(boxed, start=1):
        size = facts(root, sample.path)
        images.append({"id": number, "file_name": sample.path, "width": size.width, "height": size.height})
        for box in sample.boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": numbers[sample.label],
                    "bbox": [box.x, box.y, box.width, box.height],
                    "area": box.width * box.height,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": defect} for defect, number in numbers.items()]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / NAMES[0]).write_text(json.dumps(content, indent=1), encoding="utf-8")

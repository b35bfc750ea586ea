"""The known-good images a recipe is taught from, and which of them show the same part."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.errors import TeachingFailed
from storage.image_files import image_files
from workers.elpv import taught_cells

COLUMNS = ("image", "group")


def known_good(name: str, teach: Mapping[str, Any] | None) -> list[Path]:
    """The images a recipe is taught from, in order."""
    if teach is None:
        raise TeachingFailed(f"recipes.{name}.teach is not set and no model is deployed: set it, or deploy a model")
    if teach["kind"] == "elpv":
        return [cell.path for cell in taught_cells(teach["cells"], teach["count"], teach["seed"])]
    folder = Path(teach["path"])
    try:
        found = image_files(folder)
    except OSError as error:
        raise TeachingFailed(f"recipes.{name}.teach.path: folder {folder}: {error.strerror}") from error
    if not found:
        raise TeachingFailed(f"recipes.{name}.teach.path: folder {folder} holds no image")
    return found


def groups_of(name: str, teach: Mapping[str, Any], images: list[Path]) -> list[str] | None:
    """The group of each image, or None where each shows a part of its own."""
    path = teach.get("groups")
    if path is None:
        return None
    setting = f"recipes.{name}.teach.groups: {path}"
    groups = read_groups(Path(path), setting)
    missing = [image.name for image in images if image.name not in groups]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise TeachingFailed(f"{setting} gives no group for {', '.join(missing[:3])}{more}; each image needs one")
    return [groups[image.name] for image in images]


def read_groups(path: Path, setting: str) -> dict[str, str]:
    """The group of each image the file names; other columns and other images may be there too."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            absent = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
            if absent:
                raise TeachingFailed(
                    f"{setting} has no column {' and no column '.join(absent)}; the first line names image and group"
                )
            return read_lines(lines, setting)
    except OSError as error:
        raise TeachingFailed(f"{setting}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TeachingFailed(f"{setting} is no CSV file in UTF-8: {error}") from error


def read_lines(lines: csv.DictReader[str], setting: str) -> dict[str, str]:
    groups: dict[str, str] = {}
    for line in lines:
        image, group = ((line[column] or "").strip() for column in COLUMNS)
        if not image or not group:
            raise TeachingFailed(f"{setting}, line {lines.line_num}: image and group must both be given")
        if groups.setdefault(image, group) != group:
            raise TeachingFailed(f"{setting}, line {lines.line_num}: {image} is in {groups[image]} and in {group}")
    return groups

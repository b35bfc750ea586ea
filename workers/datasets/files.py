"""Files of a data set, as its tables name them: nothing outside its folder is ever opened."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from storage.errors import DatasetInvalid, ImageUnreadable
from storage.image_files import is_image_name
from storage.images import ImageFacts, describe
from workers.datasets.sample import GOOD

RELATIVE = "a path inside the data set, relative to its root, without '..' or backslashes"


@dataclass(frozen=True)
class Place:
    """Where in a table something stands: for errors that name the file and the row."""

    file: Path
    row: int | str | None = field(default=None)

    def wrong(self, what: str, given: object, allowed: str) -> DatasetInvalid:
        return DatasetInvalid(self.file, what, row=self.row, given=given, allowed=allowed)


def image_path(root: Path, given: object, place: Place, what: str = "image") -> str:
    """The path of an image that is there, normalised; DatasetInvalid otherwise."""
    path = relative(given, place, what)
    if not is_image_name(PurePosixPath(path).name):
        raise place.wrong(what, given, "a .bmp, .jpg, .jpeg, .png, .tif or .tiff file whose name begins with no dot")
    if not (root / path).is_file():
        raise place.wrong(what, given, f"a file that is there; {root / path} is not")
    return path


def relative(given: object, place: Place, what: str) -> str:
    """A path that stays inside, with slashes and without a leading './'."""
    if not isinstance(given, str) or not given or not given.isprintable():
        raise place.wrong(what, given, RELATIVE)
    path = PurePosixPath(given)
    if path.is_absolute() or ".." in path.parts or "\\" in given or not path.parts or ":" in path.parts[0]:
        raise place.wrong(what, given, RELATIVE)
    if any(part != part.strip() for part in path.parts):
        raise place.wrong(what, given, "names that neither begin nor end with a blank")
    return path.as_posix()


def name(given: object, place: Place, what: str, *, nested: bool = False) -> str:
    """A product or a defect class, which export makes a folder of; a product may be nested: COMP/product."""
    text = relative(given, place, what)
    if ("/" in text and not nested) or any(part.startswith(".") for part in text.split("/")):
        raise place.wrong(what, given, f"a name without {'' if nested else 'slashes and '}a dot in front")
    return text


def defect_class(given: object, place: Place, what: str) -> str:
    """The class of an anomaly: any name but the one that means none."""
    text = name(given, place, what)
    if text == GOOD:
        raise place.wrong(what, given, f'a defect class; "{GOOD}" has no defect')
    return text


def facts(root: Path, path: str) -> ImageFacts:
    """What the header of an image says; DatasetInvalid when it is none."""
    try:
        return describe((root / path).read_bytes())
    except ImageUnreadable as error:
        raise DatasetInvalid(root / path, "image", given=str(error), allowed="JPEG, PNG, BMP or TIFF") from error
    except OSError as error:
        raise DatasetInvalid(root / path, "image", given=error.strerror, allowed="a file that can be read") from error


def text(file: Path) -> str:
    """A table as text; a byte order mark, as spreadsheets write it, is no part of it."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetInvalid(file, "text", given=f"byte {error.start} is not UTF-8", allowed="UTF-8") from error
    except OSError as error:
        raise DatasetInvalid(file, "file", given=error.strerror, allowed="a file that can be read") from error


def json_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetInvalid(file, "JSON", given=str(error), allowed="one JSON object") from error
    if not isinstance(content, dict):
        raise DatasetInvalid(file, "JSON", given=type(content).__name__, allowed="one JSON object")
    return content

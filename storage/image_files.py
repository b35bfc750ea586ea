"""Image files in a folder: which there are, and in which order."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

IMAGE_SUFFIXES: Final = frozenset({".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff"})
DIGITS: Final = re.compile(r"(\d+)")


def natural_order(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Sorts part2.png before part10.png; the plain name decides between part2.png and part02.png."""
    parts = [part for part in DIGITS.split(path.name.lower()) if part]
    return [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts], path.name


def is_image_name(name: str) -> bool:
    """Dotfiles and .part, .tmp are what others are still writing."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def image_files(folder: Path) -> list[Path]:
    """The image files of this folder in natural order; OSError when the folder is gone."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if is_image_name(entry.name) and entry.is_file()]
    return sorted((folder / name for name in names), key=natural_order)

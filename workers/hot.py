"""The hot copy: a frame's pixels on their short way from capture to inference. When it is gone, the file is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from workers.detectors.detector import Image


class HotFrames(Protocol):
    """A bounded place for pixels, known by `hot_key`; it may forget at any time."""

    def put(self, key: str, pixels: Image) -> None:
        """Keep the pixels for a while."""
        ...

    def take(self, keys: Sequence[str]) -> dict[str, Image]:
        """The pixels that are still there; they are given up here."""
        ...


class NoHotFrames:
    """Forgets at once: everything is read from the files."""

    def put(self, key: str, pixels: Image) -> None:
        return

    def take(self, keys: Sequence[str]) -> dict[str, Image]:
        return {}


def hot_key(inspection_id: object, camera: str, image_size: int) -> str:
    """Pixels decoded for one image size are not those decoded for another."""
    return f"{inspection_id}/{camera}/{image_size}"

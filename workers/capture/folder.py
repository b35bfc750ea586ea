"""A camera that is a folder of image files: a recording played back, or what another program writes there."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from storage.errors import CameraError, CameraLost, InspectionFailed, SourceExhausted
from storage.image_files import is_image_name
from storage.images import decode, encode, maximum_file_bytes
from workers.capture.arrivals import FileArrivals, complete_files
from workers.capture.bayer import BayerPattern, demosaic
from workers.capture.camera import Frame, RepeatableCamera, Shot

__all__ = ["FileArrivals", "FolderCamera", "FolderMode"]

FolderMode = Literal["once", "loop", "watch"]


class FolderCamera(RepeatableCamera):
    """Trigger n of a run gets the n-th file in natural order as listed when opened, or the file that the trigger names.

    A repeated trigger gets the same file, as long as no file is added before it while the line is down. In `watch`
    the trigger always names the file. With `bayer` the frame is the demosaiced image and is stored as PNG.
    """

    kind = "folder"

    def __init__(
        self,
        name: str,
        folder: Path,
        mode: FolderMode = "once",
        settle_seconds: float = 0.5,
        bayer: BayerPattern | None = None,
        pattern: str = "*",
        maximum_megapixels: float = 100,
    ) -> None:
        super().__init__(name)
        self._maximum_megapixels = maximum_megapixels
        self._pattern = pattern
        self.folder = folder
        self.mode = mode
        self._settle_seconds = settle_seconds
        self._bayer = bayer
        self._files: list[Path] = []

    def open(self) -> None:
        super().open()
        try:
            self._files = self._list()
        except OSError as error:
            raise CameraLost(self.name, f"folder {self.folder}: {error.strerror}") from error

    def _list(self) -> list[Path]:
        if self.mode == "watch":
            self.folder.stat()
            return []
        complete = complete_files(self.folder, self._settle_seconds)
        files = [path for path in complete if fnmatch(path.name, self._pattern)]
        if not files:
            # An empty folder is what an unmounted share looks like: try again rather than end the recording.
            raise CameraLost(self.name, f"folder {self.folder} holds no complete image")
        return files

    def capture(self, shot: Shot) -> Frame:
        path = self._named(shot.path) if shot.path else self._listed(shot.number_in_run or shot.trigger_number)
        name = shot.path.name if shot.path else path.name  # a link goes by its own name
        encoded = self._read(path)
        if self._bayer is None:
            return self._frame(encoded=encoded, source=name)
        try:
            mosaic = decode(encoded, maximum_megapixels=self._maximum_megapixels, from_outside=True)
            pixels = demosaic(mosaic, self._bayer)
        except InspectionFailed as error:
            raise CameraError(self.name, f"{path}: {error}") from error
        return self._frame(encoded=encode(pixels, "png"), pixels=pixels, source=name)

    def _named(self, path: Path) -> Path:
        # The name comes with the trigger, from outside: it must not lead out of the folder. Neither must a link: who
        # may write here could have any file of this machine read and shown.
        folder, wanted = self.folder.resolve(), self.folder / path
        if wanted.parent.resolve() != folder or not is_image_name(wanted.name):
            raise CameraError(self.name, f"the trigger names {path}, which is no image file of {self.folder}")
        target = wanted.resolve()
        if not target.is_relative_to(folder):
            raise CameraError(
                self.name, f"{path} is a link to {target}: links are followed within {self.folder} only; copy the file"
            )
        return target

    def _listed(self, trigger_number: int) -> Path:
        if self.mode == "watch":
            raise CameraError(self.name, f"trigger {trigger_number} names no file; in watch mode it must")
        count = len(self._files)
        if count == 0 or (trigger_number > count and self.mode == "once"):
            raise SourceExhausted(self.name, f"trigger {trigger_number}: {self.folder} holds {count} images")
        return self._files[(trigger_number - 1) % count]

    def _read(self, path: Path) -> bytes:
        allowed = maximum_file_bytes(self._maximum_megapixels)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                encoded = file.read() if size <= allowed else b""
        except OSError as error:
            if self.folder.is_dir():
                raise CameraError(self.name, f"{path}: {error.strerror}") from error
            raise CameraLost(self.name, f"folder {self.folder} is gone") from error
        if size == 0:
            raise CameraError(self.name, f"{path} is empty")
        if size > allowed:
            raise CameraError(
                self.name,
                f"{path} has {size} bytes; an image of {self._maximum_megapixels:g} megapixels "
                f"(images.maximum_megapixels) takes no more than {allowed}",
            )
        return encoded

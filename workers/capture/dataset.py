"""A camera that shows the images of a dataset, in order: the demo line and rehearsals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage.errors import CameraLost, SourceExhausted
from workers.capture.camera import Frame, RepeatableCamera, Shot


class DatasetCamera(RepeatableCamera):
    """Trigger n gets the n-th path, so a repeated trigger gets the same image."""

    kind = "dataset"

    def __init__(self, name: str, paths: Sequence[Path], loop: bool = True) -> None:
        super().__init__(name)
        self._paths = paths
        self._loop = loop

    def capture(self, shot: Shot) -> Frame:
        path = self._paths[self._place(shot.trigger_number)]
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise CameraLost(self.name, f"{path}: {error.strerror}") from error
        return self._frame(encoded=encoded, source=path.name)

    def _place(self, trigger_number: int) -> int:
        count = len(self._paths)
        if count == 0 or (trigger_number > count and not self._loop):
            raise SourceExhausted(self.name, f"the dataset has {count} images; trigger {trigger_number} asks for more")
        return (trigger_number - 1) % count

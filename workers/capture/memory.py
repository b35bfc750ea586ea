"""A camera that hands over pixels from memory: the bench measures the line with it, not a disk."""

from __future__ import annotations

from collections.abc import Sequence

from storage.errors import SourceExhausted
from storage.images import Image
from workers.capture.camera import Frame, RepeatableCamera, Shot


class MemoryCamera(RepeatableCamera):
    """Trigger n gets the n-th of these images, from the beginning again after the last."""

    kind = "memory"

    def __init__(self, name: str, images: Sequence[Image]) -> None:
        super().__init__(name)
        self._images = images

    def capture(self, shot: Shot) -> Frame:
        if not self._images:
            raise SourceExhausted(self.name, "no image is in memory")
        return self._frame(pixels=self._images[(shot.trigger_number - 1) % len(self._images)])

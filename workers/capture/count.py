"""The account of a camera: triggers against frames."""

from __future__ import annotations

from dataclasses import dataclass

from storage.errors import FrameMismatch
from workers.capture.camera import Frame


@dataclass
class FrameCount:
    """Triggers against frames. A camera that counts its triggers shows here what it missed or took unasked."""

    triggers: int = 0
    frames: int = 0
    late_frames: int = 0
    mismatches: int = 0
    _last_number: int | None = None

    @property
    def missing(self) -> int:
        """Triggers that got no usable frame."""
        return self.triggers - self.frames

    def restart(self) -> None:
        """The camera's counter may begin anew: after opening, after discarding frames."""
        self._last_number = None

    def accept(self, frame: Frame, counts_triggers: bool) -> None:
        """Count this frame, or raise FrameMismatch when the camera's counter did not advance by one."""
        last, self._last_number = self._last_number, frame.frame_number
        if counts_triggers and last is not None and frame.frame_number != last + 1:
            self.mismatches += 1
            raise FrameMismatch(
                frame.camera, f"frame {frame.frame_number} after frame {last} for one trigger; it may show another part"
            )
        self.frames += 1

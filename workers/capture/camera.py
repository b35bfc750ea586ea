"""What every camera promises: a frame for a trigger, or an error that says why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from storage.errors import CameraSettingRefused
from storage.images import Image


@dataclass(frozen=True)
class Shot:
    """One trigger, as a camera sees it."""

    trigger_number: int
    """Runs from 1; a redelivered trigger has the same number."""
    deadline_seconds: float
    """From the call: later than this the part has left the station."""
    part_id: str | None = None
    path: Path | None = None
    """The file that a file trigger names."""
    number_in_run: int | None = None
    """Runs from 1 in each run; not set: as trigger_number."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image from one camera: `encoded`, `pixels` or both; `encoded` is stored as it is, being the evidence."""

    camera: str
    frame_number: int
    """The camera's own counter since it was opened."""
    captured_at: datetime
    encoded: bytes | None = None
    pixels: Image | None = None
    complete: bool = True
    source: str | None = None
    hardware_timestamp_ns: int | None = None
    exposure_microseconds: float | None = None


class Camera(Protocol):
    """A source of frames. Every method is called from one thread, and may raise CameraError.

    CameraLost means that only opening it again can help. After any other error the camera stays open and `discard`
    is called before the next trigger.
    """

    name: str
    kind: str
    is_live: bool
    """It sees the world now: a late capture shows another part. Files give the same frame for the same trigger."""
    counts_triggers: bool
    """frame_number advances by one per trigger, so a gap is a missed or a surplus exposure."""

    def open(self) -> None:
        """Connect and be ready for triggers; opening twice is closing and opening."""
        ...

    def close(self) -> None:
        """Let go of the device; closing twice does nothing."""
        ...

    def capture(self, shot: Shot) -> Frame:
        """The frame of this trigger, exposed after the call when live; CameraTimeout when the deadline passes."""
        ...

    def discard(self) -> None:
        """Drop what is buffered or under way, so that a late frame is never taken for the next part."""
        ...

    def set_exposure(self, microseconds: float) -> float:
        """Set the exposure time, now and whenever it is opened again; CameraSettingRefused when it takes none.

        Returns the time that the camera took, or before it is open the one it will be asked for.
        """
        ...


class RepeatableCamera:
    """What sources have in common that give the same frame for the same trigger: nothing live, nothing buffered."""

    kind = "repeatable"
    is_live = False
    counts_triggers = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._frame_number = 0

    def open(self) -> None:
        self._frame_number = 0

    def close(self) -> None:
        """Nothing is held open between two triggers."""

    def discard(self) -> None:
        """Nothing is buffered."""

    def set_exposure(self, microseconds: float) -> float:
        raise CameraSettingRefused(self.name, f"a {self.kind} source has no exposure to set to {microseconds:g} µs")

    def _frame(self, *, encoded: bytes | None = None, pixels: Image | None = None, source: str | None = None) -> Frame:
        self._frame_number += 1
        return Frame(
            camera=self.name,
            frame_number=self._frame_number,
            captured_at=datetime.now(UTC),
            encoded=encoded,
            pixels=pixels,
            source=source,
        )

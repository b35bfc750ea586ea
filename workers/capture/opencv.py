"""Cameras that OpenCV can read: USB by index, network streams by URL, and video files."""

from __future__ import annotations

import re
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import cv2
import numpy as np

from storage.errors import CameraLost, CameraSettingRefused, CameraTimeout, SourceExhausted
from storage.images import Image, silence_opencv
from workers.capture.bayer import BayerPattern, demosaic
from workers.capture.camera import Camera, Frame, RepeatableCamera, Shot

PASSWORD_IN_URL: Final = re.compile(r"(://[^:/@]*):.*@")
SECRET_IN_QUERY: Final = re.compile(r"([?&][^=&]*(?:pass|pwd|token|key|secret)[^=&]*=)[^&#]*", re.IGNORECASE)
V4L2_EXPOSURE_MICROSECONDS: Final = 100
"""V4L2 counts the exposure time in steps of 100 µs and calls 1 the manual mode; other drivers have other units."""
V4L2_MANUAL_EXPOSURE: Final = 1


@dataclass(frozen=True)
class StreamFormat:
    """What to ask of a live camera when it is opened; None leaves it as it is."""

    width: int | None = None
    height: int | None = None
    exposure_microseconds: float | None = None
    bayer: BayerPattern | None = None


def opencv_camera(
    name: str, source: str, loop: bool = False, timeout_seconds: float = 5.0, asked: StreamFormat | None = None
) -> Camera:
    """The camera for a device index or path, a URL, or a video file."""
    if source.isdecimal():
        return VideoStreamCamera(name, int(source), timeout_seconds, asked)
    if "://" in source or source.startswith("/dev/"):
        return VideoStreamCamera(name, source, timeout_seconds, asked)
    return VideoFileCamera(name, Path(source), loop)


def masked(source: str | int) -> str:
    """The source as it may stand in a log: without passwords."""
    return SECRET_IN_QUERY.sub(r"\1***", PASSWORD_IN_URL.sub(r"\1:***@", str(source)))


def raw_mosaic(pixels: Image) -> Image:
    """Drivers hand raw pixels over as (H, W), (H, W, 1) or copied into three equal channels."""
    return cast(Image, pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, 0]))


class VideoFileCamera(RepeatableCamera):
    """Trigger n gets frame n of a video file; frames are counted, not sought, for seeking is inexact."""

    kind = "video"

    def __init__(self, name: str, path: Path, loop: bool = False) -> None:
        super().__init__(name)
        self.path = path
        self._loop = loop
        self._video: cv2.VideoCapture | None = None
        self._position = 0
        """Frames read so far."""
        self._length: int | None = None
        """Known once the end was reached."""
        self._pixels: Image | None = None

    def open(self) -> None:
        super().open()
        self._rewind()

    def close(self) -> None:
        if self._video is not None:
            self._video.release()
            self._video = None

    def capture(self, shot: Shot) -> Frame:
        pixels = self._read(shot.trigger_number)
        if pixels is None and self._loop and self._length:
            pixels = self._read(shot.trigger_number)  # now that the length is known
        if pixels is None:
            raise SourceExhausted(self.name, f"{self.path} has {self._length} frames; trigger {shot.trigger_number}")
        return self._frame(pixels=pixels, source=f"{self.path.name}#{self._position}")

    def _read(self, number: int) -> Image | None:
        if self._length and self._loop:
            number = (number - 1) % self._length + 1
        if number < self._position or (number == self._position and self._pixels is None):
            self._rewind()
        while self._position < number:
            if not self._advance(wanted=self._position + 1 == number):
                return None
        return self._pixels

    def _advance(self, wanted: bool) -> bool:
        video = self._opened()
        if not video.grab():
            self._length = self._position
            return False
        self._position += 1
        self._pixels = _retrieve(video) if wanted else None
        return self._pixels is not None or not wanted

    def _opened(self) -> cv2.VideoCapture:
        if self._video is None:
            raise CameraLost(self.name, f"{self.path} is not open")
        return self._video

    def _rewind(self) -> None:
        self.close()
        silence_opencv()
        self._video = cv2.VideoCapture(str(self.path))
        self._position, self._pixels = 0, None
        if not self._video.isOpened():
            raise CameraLost(self.name, f"{self.path} cannot be opened as a video")


class VideoStreamCamera:
    """A free-running camera: a thread grabs all the time, and a trigger gets a frame whose grab began after it.

    What the network or the camera itself buffers before that cannot be seen from here: where a part moves, use a
    camera with a trigger input.
    """

    kind = "opencv"
    is_live = True
    counts_triggers = False

    def __init__(
        self, name: str, source: int | str, timeout_seconds: float = 5.0, asked: StreamFormat | None = None
    ) -> None:
        self.name = name
        self._asked = asked or StreamFormat()
        self._source = source
        self._timeout_seconds = timeout_seconds
        self._exposure_microseconds = self._asked.exposure_microseconds
        self._grabber: Grabber | None = None

    def open(self) -> None:
        self.close()
        silence_opencv()
        video = self._connect()
        self._apply_size(video)
        if self._exposure_microseconds is not None:
            self._apply_exposure(video, self._exposure_microseconds)
        self._grabber = Grabber(video)

    def close(self) -> None:
        if self._grabber is not None:
            self._grabber.stop(self._timeout_seconds + 1)
            self._grabber = None

    def capture(self, shot: Shot) -> Frame:
        if self._grabber is None:
            raise CameraLost(self.name, f"{masked(self._source)} is not open")
        grabbed = self._grabber.next(min(shot.deadline_seconds, self._timeout_seconds))
        if grabbed is None and self._grabber.has_ended:
            raise CameraLost(self.name, f"{masked(self._source)} delivers no more frames")
        if grabbed is None:
            raise CameraTimeout(self.name)
        number, pixels = grabbed
        if self._asked.bayer:
            pixels = demosaic(raw_mosaic(pixels), self._asked.bayer)
        return Frame(
            self.name, number, datetime.now(UTC), pixels=pixels, exposure_microseconds=self._exposure_microseconds
        )

    def discard(self) -> None:
        """Nothing to drop: each trigger waits for a frame of its own."""

    def set_exposure(self, microseconds: float) -> float:
        self._exposure_microseconds = microseconds
        if self._grabber is not None:
            self.open()
        return self._exposure_microseconds

    def _connect(self) -> cv2.VideoCapture:
        timeout = int(self._timeout_seconds * 1000)
        if isinstance(self._source, int) or self._source.startswith("/dev/"):
            video = cv2.VideoCapture(self._source)
            video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        else:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout]
            video = cv2.VideoCapture(self._source, cv2.CAP_FFMPEG, limits)
        if not video.isOpened():
            raise CameraLost(self.name, f"{masked(self._source)} cannot be opened")
        return video

    def _apply_size(self, video: cv2.VideoCapture) -> None:
        """A camera that silently delivers another size would be taught on one scale and judged on another."""
        if self._asked.bayer:
            video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        wanted = self._asked.width, self._asked.height
        for property_id, value in zip((cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT), wanted, strict=True):
            if value is not None:
                video.set(property_id, value)
        found = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if any(value is not None and value != given for value, given in zip(wanted, found, strict=True)):
            video.release()
            asked = "x".join("any" if value is None else str(value) for value in wanted)
            raise CameraSettingRefused(
                self.name, f"{masked(self._source)} delivers {found[0]}x{found[1]} pixels, not {asked}"
            )

    def _apply_exposure(self, video: cv2.VideoCapture, microseconds: float) -> None:
        steps = round(microseconds / V4L2_EXPOSURE_MICROSECONDS)
        taken = sys.platform == "linux" and (
            video.set(cv2.CAP_PROP_AUTO_EXPOSURE, V4L2_MANUAL_EXPOSURE) and video.set(cv2.CAP_PROP_EXPOSURE, steps)
        )
        if not taken:
            self._exposure_microseconds = None
            video.release()
            raise CameraSettingRefused(self.name, f"{masked(self._source)} takes no exposure of {microseconds:g} µs")
        self._exposure_microseconds = video.get(cv2.CAP_PROP_EXPOSURE) * V4L2_EXPOSURE_MICROSECONDS


class Grabber:
    """Grabs frames all the time, so that none grows old in a buffer; converts only those that are asked for."""

    def __init__(self, video: cv2.VideoCapture) -> None:
        self._video = video
        self._changed = threading.Condition()
        self._asked_at: float | None = None
        self._grabbed: tuple[int, Image] | None = None
        self._stopping = False
        self.has_ended = False
        self._thread = threading.Thread(target=self._run, name="grabber", daemon=True)
        self._thread.start()

    def next(self, timeout_seconds: float) -> tuple[int, Image] | None:
        """The first frame whose grab begins after this call; None when there is none in time or ever again."""
        with self._changed:
            self._grabbed, self._asked_at = None, time.monotonic()
            self._changed.wait_for(lambda: self._grabbed is not None or self.has_ended, timeout_seconds)
            self._asked_at = None
            return self._grabbed

    def stop(self, timeout_seconds: float) -> None:
        self._stopping = True
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        number = 0
        while not self._stopping:
            began_at = time.monotonic()
            if not self._video.grab():
                break
            number += 1
            self._hand_over(number, began_at)
        self._video.release()  # here and not in stop(): releasing a video during a grab crashes the process
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()

    def _hand_over(self, number: int, began_at: float) -> None:
        with self._changed:
            if self._asked_at is None or began_at < self._asked_at:
                return
            pixels = _retrieve(self._video)
            if pixels is not None:
                self._grabbed, self._asked_at = (number, pixels), None
                self._changed.notify_all()


def _retrieve(video: cv2.VideoCapture) -> Image | None:
    retrieved, pixels = video.retrieve()
    return cast(Image, pixels) if retrieved else None

"""OpenCV cameras: a real video file, and a real MJPEG stream on loopback in place of a network camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from storage.errors import CameraLost, CameraSettingRefused, CameraTimeout, SourceExhausted
from storage.images import encode
from workers.capture.camera import Shot
from workers.capture.opencv import VideoFileCamera, VideoStreamCamera, masked, opencv_camera

FRAMES = 12
STEP = 20
"""Shades of grey between two frames: more than compression can blur."""


def shot(number: int, deadline_seconds: float = 20.0) -> Shot:
    return Shot(trigger_number=number, deadline_seconds=deadline_seconds)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(1, FRAMES + 1):
        writer.write(np.full((48, 64, 3), number * STEP, np.uint8))
    writer.release()
    return path


def number_shown(camera: VideoFileCamera, trigger_number: int) -> int:
    pixels = camera.capture(shot(trigger_number)).pixels
    assert pixels is not None and pixels.shape == (48, 64, 3)
    return round(float(pixels.mean()) / STEP)


def test_trigger_n_gets_frame_n_of_a_video_in_any_order(video: Path) -> None:
    camera = VideoFileCamera("top", video)
    camera.open()
    order = [1, 2, 2, 5, 12, 3, 12, 1]
    assert [number_shown(camera, number) for number in order] == order
    with pytest.raises(SourceExhausted, match="has 12 frames; trigger 13"):
        camera.capture(shot(13))
    assert number_shown(camera, 7) == 7
    camera.close()
    with pytest.raises(CameraLost, match="not open"):
        VideoFileCamera("top", video).capture(shot(1))


def test_a_looped_video_begins_again(video: Path) -> None:
    camera = VideoFileCamera("top", video, loop=True)
    camera.open()
    assert [number_shown(camera, number) for number in (5, 24, 12, 13, 26, 5)] == [5, 12, 12, 1, 2, 5]
    camera.close()
    again = VideoFileCamera("top", video, loop=True)
    again.open()
    assert number_shown(again, 1000) == (1000 - 1) % FRAMES + 1
    again.close()


def test_what_is_no_video_is_a_lost_camera(tmp_path: Path) -> None:
    (tmp_path / "broken.avi").write_bytes(b"no video")
    for name in ("broken.avi", "absent.avi"):
        with pytest.raises(CameraLost, match=name):
            VideoFileCamera("top", tmp_path / name).open()


class LineServer(ThreadingHTTPServer):
    """A network camera: streams the shade that the test has put before the lens."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Stream)
        self.shade = 40
        self.frozen = False
        self.unplugged = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/video.mjpg"

    def handle_error(self, request: object, client_address: object) -> None:
        """The camera hung up; nothing to tell."""


class Stream(BaseHTTPRequestHandler):
    server: LineServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while not self.server.unplugged:
            if not self.server.frozen:
                data = encode(np.full((48, 64, 3), self.server.shade, np.uint8), "jpeg")
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
            time.sleep(0.01)

    def log_message(self, format: str, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[LineServer]:
    server = LineServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.unplugged = True
    server.shutdown()
    thread.join()
    server.server_close()


def shade_seen(camera: VideoStreamCamera, number: int) -> int:
    pixels = camera.capture(shot(number)).pixels
    assert pixels is not None
    return round(float(pixels.mean()))


def settled_shade(camera: VideoStreamCamera, shade: int) -> int:
    """The demuxer reads ahead a little; once the new shade is through, no older frame may follow."""
    until = time.monotonic() + 20
    while abs(shade_seen(camera, 1) - shade) > 4 and time.monotonic() < until:
        pass
    return shade_seen(camera, 2)


def test_a_live_stream_gives_a_frame_of_now_and_not_of_the_buffer(server: LineServer) -> None:
    camera = VideoStreamCamera("top", server.url, timeout_seconds=10)
    camera.open()
    first = camera.capture(shot(1))
    assert camera.is_live and first.frame_number >= 1
    time.sleep(0.3)  # a reader that waits for triggers would now have a buffer of old frames
    assert camera.capture(shot(2)).frame_number > first.frame_number + 5
    for shade in (200, 90):
        server.shade = shade
        assert abs(settled_shade(camera, shade) - shade) <= 4
    camera.close()
    camera.close()


def test_a_stream_that_freezes_is_a_timeout(server: LineServer) -> None:
    camera = VideoStreamCamera("top", server.url, timeout_seconds=1)
    camera.open()
    camera.capture(shot(1))
    server.frozen = True
    time.sleep(0.2)
    with pytest.raises((CameraTimeout, CameraLost)):
        camera.capture(shot(2, deadline_seconds=0.2))
    camera.close()


def test_a_stream_that_ends_is_a_lost_camera_and_can_be_opened_again(server: LineServer) -> None:
    camera = VideoStreamCamera("top", server.url, timeout_seconds=5)
    camera.open()
    server.unplugged = True
    with pytest.raises(CameraLost, match="no more frames"):
        for number in range(10_000):
            camera.capture(shot(number))
    server.unplugged = False
    camera.open()
    assert abs(shade_seen(camera, 1) - 40) <= 4
    camera.close()


def test_a_stream_that_nobody_serves_is_a_lost_camera_without_the_password(server: LineServer) -> None:
    url = server.url.replace("127.0.0.1", "operator:hunter2@127.0.0.1")
    server.shutdown()
    server.server_close()
    with pytest.raises(CameraLost, match=r"operator:\*\*\*@127") as raised:
        VideoStreamCamera("top", url, timeout_seconds=1).open()
    assert "hunter2" not in str(raised.value)


def test_a_network_stream_refuses_an_exposure(server: LineServer) -> None:
    camera = VideoStreamCamera("top", server.url)
    camera.set_exposure(500)
    with pytest.raises(CameraSettingRefused, match="500 µs"):
        camera.open()
    camera.open()
    camera.close()


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://admin:p@ss/word@10.0.0.5:554/live", "rtsp://admin:***@10.0.0.5:554/live"),
        ("rtsp://10.0.0.5/live?user=a&Password=b&x=1", "rtsp://10.0.0.5/live?user=a&Password=***&x=1"),
        ("http://cam/video?api_key=abc#t", "http://cam/video?api_key=***#t"),
        ("rtsp://admin@10.0.0.5:554/live", "rtsp://admin@10.0.0.5:554/live"),
        (0, "0"),
    ],
)
def test_passwords_are_masked(source: str | int, shown: str) -> None:
    assert masked(source) == shown


def test_the_source_decides_which_camera_it_is(video: Path) -> None:
    assert isinstance(opencv_camera("top", "0"), VideoStreamCamera)
    assert isinstance(opencv_camera("top", "/dev/video0"), VideoStreamCamera)
    assert isinstance(opencv_camera("top", "rtsp://10.0.0.5/live"), VideoStreamCamera)
    assert isinstance(opencv_camera("top", str(video)), VideoFileCamera)

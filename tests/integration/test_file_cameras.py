"""Folders and datasets as cameras, on a real file system."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from storage.errors import CameraError, CameraLost, CameraSettingRefused, SourceExhausted
from storage.image_files import natural_order
from storage.images import Image, decode, encode
from workers.capture.arrivals import FileState, complete_files, listing
from workers.capture.camera import Shot
from workers.capture.dataset import DatasetCamera
from workers.capture.folder import FileArrivals, FolderCamera
from workers.capture.status import Backoff, CameraState
from workers.capture.views import StationViews

PATIENCE_SECONDS = 60.0


def shot(number: int, path: Path | None = None) -> Shot:
    return Shot(trigger_number=number, deadline_seconds=PATIENCE_SECONDS, path=path)


def picture(shade: int) -> bytes:
    return encode(np.full((8, 8), shade, np.uint8), "png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    for number in (10, 9, 2, 1):
        (folder / f"part{number}.png").write_bytes(picture(number))
    return folder


def opened(folder: Path, mode: str = "once", **options: object) -> FolderCamera:
    camera = FolderCamera("top", folder, mode, settle_seconds=0.0, **options)  # type: ignore[arg-type]  # plain words
    camera.open()
    return camera


def test_names_are_sorted_as_people_count() -> None:
    names = ["part10.png", "Part2.png", "part02.png", "7.png", "part2b.png", "a.png"]
    ordered = sorted(map(Path, names), key=natural_order)
    assert [path.name for path in ordered] == ["7.png", "a.png", "Part2.png", "part02.png", "part2b.png", "part10.png"]


def test_a_folder_is_played_once_in_natural_order(folder: Path) -> None:
    camera = opened(folder)
    played = [camera.capture(shot(number)).source for number in range(1, 5)]
    assert played == ["part1.png", "part2.png", "part9.png", "part10.png"]
    with pytest.raises(SourceExhausted, match=r"trigger 5: .* holds 4 images"):
        camera.capture(shot(5))


def test_the_frame_is_the_file_as_it_is(folder: Path) -> None:
    frame = opened(folder).capture(shot(3))
    assert frame.encoded == picture(9) and frame.pixels is None and frame.complete


def test_a_repeated_trigger_gets_the_same_file_after_a_restart(folder: Path) -> None:
    before = opened(folder, "loop").capture(shot(7)).source
    assert opened(folder, "loop").capture(shot(7)).source == before == "part9.png"


def test_a_file_added_while_playing_does_not_shift_the_others(folder: Path) -> None:
    camera = opened(folder)
    (folder / "part0.png").write_bytes(picture(0))
    assert camera.capture(shot(1)).source == "part1.png"


def test_what_is_no_image_or_unfinished_is_left_out(folder: Path) -> None:
    for name in (".part3.png", "part4.png.part", "part5.tmp", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "part6.png").touch()
    (folder / "part7.png").mkdir()
    (folder / "PART8.JPEG").write_bytes(picture(8))
    assert [path.name for path in complete_files(folder, 0)] == [
        "part1.png", "part2.png", "PART8.JPEG", "part9.png", "part10.png",
    ]  # fmt: skip


def test_a_file_that_is_being_written_is_left_out(folder: Path) -> None:
    stop = threading.Event()

    def write_slowly() -> None:
        with (folder / "part3.png").open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"more")
                time.sleep(0.001)

    writer = threading.Thread(target=write_slowly)
    writer.start()
    try:
        while not (folder / "part3.png").exists():
            time.sleep(0.001)
        names = [path.name for path in complete_files(folder, settle_seconds=0.3)]
    finally:
        stop.set()
        writer.join()
    assert names == ["part1.png", "part2.png", "part9.png", "part10.png"]


def test_a_trigger_may_name_its_file(folder: Path) -> None:
    camera = opened(folder, "watch")
    (folder / "new.png").write_bytes(picture(77))
    assert camera.capture(shot(1, Path("new.png"))).encoded == picture(77)
    assert camera.capture(shot(2, folder / "part2.png")).encoded == picture(2)
    with pytest.raises(CameraError, match="trigger 3 names no file"):
        camera.capture(shot(3))
    with pytest.raises(CameraError, match=r"gone\.png: No such file"):
        camera.capture(shot(4, Path("gone.png")))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "notes.txt", ".hidden.png"])
def test_a_trigger_cannot_name_a_file_elsewhere(folder: Path, name: str) -> None:
    (folder.parent / "secret.png").write_bytes(picture(1))
    with pytest.raises(CameraError, match="no image file of"):
        opened(folder, "watch").capture(shot(1, Path(name)))


def test_a_link_within_the_folder_is_a_part_and_one_that_leads_out_says_so(tmp_path: Path) -> None:
    folder, linked_folder = tmp_path / "drop", tmp_path / "linked"
    (folder / "kept").mkdir(parents=True)
    linked_folder.symlink_to(folder)
    (folder / "kept" / "0815.png").write_bytes(picture(77))
    (tmp_path / "secret.png").write_bytes(picture(1))
    clock = Clock()
    watched = arrivals(linked_folder, clock)
    (folder / "within.png").symlink_to(Path("kept") / "0815.png")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "nowhere.png").symlink_to(tmp_path / "absent.png")
    assert sorted(arrived(watched, clock)) == ["out.png", "within.png"]
    frame = opened(linked_folder, "watch").capture(shot(1, linked_folder / "within.png"))
    assert (frame.encoded, frame.source) == (picture(77), "within.png")
    with pytest.raises(CameraError, match=r"out\.png is a link to .*secret\.png: links are followed within"):
        opened(linked_folder, "watch").capture(shot(2, linked_folder / "out.png"))


def test_a_file_larger_than_any_image_of_the_allowed_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.tif").open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room on the disk
    with pytest.raises(CameraError, match=r"a\.tif has 1099511627776 bytes; .* 2 megapixels .* no more than 20194304"):
        opened(tmp_path, maximum_megapixels=2).capture(shot(1))


def test_an_empty_or_absent_folder_is_a_lost_camera(tmp_path: Path) -> None:
    with pytest.raises(CameraLost, match="holds no complete image"):
        opened(tmp_path)
    with pytest.raises(CameraLost, match="No such file"):
        opened(tmp_path / "absent")
    with pytest.raises(CameraLost, match="No such file"):
        opened(tmp_path / "absent", "watch")


def test_a_folder_that_disappears_comes_back_by_itself(folder: Path) -> None:
    camera = FolderCamera("top", folder, "loop", settle_seconds=0.0)
    views = StationViews("station 1", [camera], Backoff(0.01, 0.02))
    views.open(PATIENCE_SECONDS)
    first = views.capture(shot(1))[0].encoded
    shutil.move(folder, folder.with_name("unmounted"))
    with pytest.raises(Exception, match="is gone"):
        views.capture(shot(2))
    assert views.status()["top"].state is CameraState.LOST
    shutil.move(folder.with_name("unmounted"), folder)
    until = time.monotonic() + PATIENCE_SECONDS
    while views.status()["top"].state is not CameraState.UP:
        assert time.monotonic() < until
        time.sleep(0.005)
    assert views.capture(shot(1))[0].encoded == first
    views.close(PATIENCE_SECONDS)


@pytest.mark.parametrize("pattern", ["rggb", "grbg", "gbrg", "bggr"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_bayer_mosaic_becomes_colour_and_is_stored_without_loss(tmp_path: Path, pattern: str, dtype: type) -> None:
    colour = {"r": 200, "g": 120, "b": 30}
    mosaic: Image = np.zeros((16, 16), dtype)
    for place, letter in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = colour[letter]
    (tmp_path / "raw.png").write_bytes(encode(mosaic, "png"))
    frame = opened(tmp_path, bayer=pattern).capture(shot(1))
    assert frame.pixels is not None and frame.encoded is not None
    assert frame.pixels.dtype == dtype and (frame.pixels[2:-2, 2:-2] == (30, 120, 200)).all()
    assert (decode(frame.encoded) == frame.pixels).all()


def test_a_mosaic_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "raw.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8), "png"))
    with pytest.raises(CameraError, match=r"camera top: .*raw\.png: a Bayer mosaic is one grey image"):
        opened(tmp_path, bayer="rggb").capture(shot(1))


def test_files_have_no_exposure(folder: Path) -> None:
    with pytest.raises(CameraSettingRefused, match="250 µs"):
        opened(folder).set_exposure(250)


def test_a_dataset_is_shown_in_order_and_again(folder: Path) -> None:
    paths = [folder / "part9.png", folder / "part1.png"]
    camera = DatasetCamera("top", paths)
    shown = [camera.capture(shot(number)).source for number in (1, 2, 3, 2)]
    assert shown == ["part9.png", "part1.png", "part9.png", "part1.png"]
    with pytest.raises(SourceExhausted):
        DatasetCamera("top", paths, loop=False).capture(shot(3))
    with pytest.raises(SourceExhausted):
        DatasetCamera("top", []).capture(shot(1))
    with pytest.raises(CameraLost, match="No such file"):
        DatasetCamera("top", [folder / "absent.png"]).capture(shot(1))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def arrivals(folder: Path, clock: Clock, already_seen: Callable[[Path], bool] = lambda path: False) -> FileArrivals:
    return FileArrivals(folder, already_seen, settle_seconds=1.0, clock=clock)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_file_arrives_once_when_it_has_settled(tmp_path: Path) -> None:
    clock = Clock()
    watched = arrivals(tmp_path, clock)
    path = tmp_path / "a.png"
    path.write_bytes(b"half")
    assert watched.poll() == []
    clock.now = 1
    path.write_bytes(b"half and more")
    assert watched.poll() == []
    clock.now = 1.5
    assert watched.poll() == []
    clock.now = 2
    assert names(watched.poll()) == ["a.png"]
    clock.now = 5
    assert watched.poll() == []


def test_a_file_that_is_written_anew_arrives_again_once_it_has_settled(tmp_path: Path) -> None:
    clock = Clock()
    watched = arrivals(tmp_path, clock)
    path = tmp_path / "latest.png"
    path.write_bytes(b"first part")
    watched.poll()
    clock.now = 1
    assert names(watched.poll()) == ["latest.png"]
    path.write_bytes(b"the second part")
    assert watched.poll() == []
    clock.now = 2
    assert names(watched.poll()) == ["latest.png"]
    clock.now = 4
    assert watched.poll() == []


def test_files_arrive_in_the_order_they_were_written(tmp_path: Path) -> None:
    clock = Clock()
    watched = arrivals(tmp_path, clock)
    for age, name in [(3, "z.png"), (2, "part10.png"), (2, "part9.png"), (1, "a.png")]:
        (tmp_path / name).write_bytes(b"x")
        stamp = 1_700_000_000_000_000_000 - age
        os.utime(tmp_path / name, ns=(stamp, stamp))
    watched.poll()
    clock.now = 1
    assert names(watched.poll()) == ["z.png", "part9.png", "part10.png", "a.png"]


def test_what_was_seen_before_the_restart_does_not_arrive_again(tmp_path: Path) -> None:
    clock = Clock()
    asked: list[str] = []

    def already_seen(path: Path) -> bool:
        asked.append(path.name)
        return path.name == "old.png"

    for name in ("old.png", "new.png", ".new.png", "other.png.tmp"):
        (tmp_path / name).write_bytes(b"x")
    watched = arrivals(tmp_path, clock, already_seen)
    watched.poll()
    clock.now = 1
    assert names(watched.poll()) == ["new.png"]
    assert watched.poll() == [] and sorted(asked) == ["new.png", "old.png"]


def test_an_unmounted_folder_does_not_bring_its_files_twice(folder: Path) -> None:
    clock = Clock()
    watched = arrivals(folder, clock)
    watched.poll()
    clock.now = 1
    assert len(watched.poll()) == 4
    shutil.move(folder, folder.with_name("unmounted"))
    with pytest.raises(FileNotFoundError):
        watched.poll()
    folder.mkdir()
    assert watched.poll() == []
    folder.rmdir()
    shutil.move(folder.with_name("unmounted"), folder)
    for clock.now in (2, 3, 4):
        assert watched.poll() == []


def arrived(watched: FileArrivals, clock: Clock) -> list[str]:
    """What has arrived once everything there had time to settle."""
    clock.now += 10  # a listing that took long is not repeated at once
    first = watched.poll()
    clock.now += 10
    return names(first + watched.poll())


def test_names_that_come_back_are_parts_again_however_many_there_are(tmp_path: Path) -> None:
    clock = Clock()
    watched = arrivals(tmp_path, clock)
    ring = [f"{number:04d}.png" for number in range(400)]
    for turn in range(3):
        for place, name in enumerate(ring):
            (tmp_path / name).write_bytes(b"x")
            os.utime(tmp_path / name, ns=(0, 1_700_000_000_000_000_000 + 1000 * turn + place))
        assert arrived(watched, clock) == ring
        if turn == 1:
            for name in ring[:-1]:
                (tmp_path / name).unlink()
            assert arrived(watched, clock) == []
            (tmp_path / ring[-1]).unlink()


def test_a_file_that_was_taken_away_and_comes_back_as_it_was_is_a_part_again(tmp_path: Path) -> None:
    clock = Clock()
    folder, away = tmp_path / "in", tmp_path / "away.png"
    folder.mkdir()
    watched = arrivals(folder, clock)
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(name.encode())
    assert arrived(watched, clock) == ["a.png", "b.png"]
    (folder / "a.png").rename(away)
    assert arrived(watched, clock) == []
    away.rename(folder / "a.png")
    assert arrived(watched, clock) == ["a.png"]


def test_what_another_program_writes_under_an_unmounted_share_forgets_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, seen = Clock(), set[str]()
    watched = arrivals(folder, clock, lambda path: path.name in seen)
    seen.update(arrived(watched, clock))
    away = folder.with_name("share")
    folder.rename(away)
    folder.mkdir()
    (folder / "stray.png").write_bytes(b"x")
    with monkeypatch.context() as mounted:
        mounted.setattr("workers.capture.arrivals.listing", lambda path: (-1, listing(path)[1]))
        assert arrived(watched, clock) == ["stray.png"]
    shutil.rmtree(folder)
    away.rename(folder)
    assert arrived(watched, clock) == []


def test_names_that_are_gone_are_not_remembered(tmp_path: Path) -> None:
    clock = Clock()
    watched = arrivals(tmp_path, clock)
    for number in range(10):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"x")
        assert arrived(watched, clock) == [path.name]
        path.unlink()
    assert arrived(watched, clock) == [] and len(watched._done) == 1  # the folder is empty: it may be unmounted


def test_a_file_that_stays_empty_is_a_part_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    watched = arrivals(tmp_path, clock)
    (tmp_path / "late.png").touch()
    (tmp_path / "never.png").touch()
    assert watched.poll() == []
    clock.now = 299
    (tmp_path / "late.png").write_bytes(picture(1))
    assert watched.poll() == []
    clock.now = 300
    assert sorted(names(watched.poll())) == ["late.png", "never.png"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{tmp_path / 'never.png'} has been empty for 5 minutes"
    with pytest.raises(CameraError, match=r"never\.png is empty"):
        opened(tmp_path, "watch").capture(shot(1, tmp_path / "never.png"))
    (tmp_path / "never.png").write_bytes(picture(2))
    assert arrived(watched, clock) == ["never.png"]


def test_a_large_folder_is_not_listed_at_every_poll(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, listed = Clock(), list[Path]()

    def slow(path: Path) -> tuple[int, dict[str, FileState | None]]:
        listed.append(path)
        time.sleep(0.02)
        return listing(path)

    monkeypatch.setattr("workers.capture.arrivals.listing", slow)
    watched = arrivals(folder, clock)
    for clock.now in (0, 0.01, 0.02, 0.03, 0.04, 0.05):
        watched.poll()
    assert len(listed) == 1
    clock.now = 1
    assert len(watched.poll()) == 4 and len(listed) == 2


def test_a_jpeg_of_a_folder_keeps_its_bytes(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(data)
    assert opened(tmp_path).capture(shot(1)).encoded == data

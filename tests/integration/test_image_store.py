"""The image store on a real disk: at once or not at all, checked on the way out, and honest when there is no room."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.errors import DiskFull, ImageAltered, ImageMissing
from storage.images import ImageStore

ROOT = Path(__file__).parents[2]
DATA = os.urandom(200_000)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_an_image_is_kept_under_its_hash(tmp_path: Path) -> None:
    stored = ImageStore(tmp_path).put(DATA, ".jpg")
    assert stored.sha256 == hashlib.sha256(DATA).hexdigest()
    assert stored.md5 == hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    assert stored.size_bytes == len(DATA)
    assert stored.path == tmp_path / "sha256" / stored.sha256[:2] / stored.sha256[2:4] / f"{stored.sha256}.jpg"
    assert files(tmp_path) == [stored.path] and ImageStore(tmp_path).get(stored.sha256) == DATA


def test_storing_the_same_image_again_leaves_the_file_alone(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    before = store.put(DATA, ".png").path.stat()
    after = store.put(DATA, ".png").path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_file_that_a_power_cut_filled_with_zeros_is_stored_again(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    stored = store.put(DATA, ".jpg")
    stored.path.write_bytes(bytes(len(DATA)))
    store.put(DATA, ".jpg")
    assert store.get(stored.sha256) == DATA


def test_threads_that_store_the_same_image_leave_one_file(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    threads = [threading.Thread(target=store.put, args=(DATA, ".jpg")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(tmp_path)) == 1


def test_making_images_durable_may_be_repeated_by_another_store(tmp_path: Path) -> None:
    sha256s = [ImageStore(tmp_path).put(os.urandom(100), ".jpg").sha256 for _ in range(3)]
    ImageStore(tmp_path).make_durable(sha256s)
    ImageStore(tmp_path).make_durable(sha256s)
    with pytest.raises(ImageMissing):
        ImageStore(tmp_path).make_durable(["0" * 64])


@pytest.mark.parametrize("sha256", ["0" * 64, "../../etc/passwd", ""])
def test_a_missing_image_is_named(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(ImageMissing) as raised:
        ImageStore(tmp_path).get(sha256)
    assert raised.value.wanted == sha256


def test_an_altered_image_is_told_with_both_hashes(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    stored = store.put(DATA, ".jpg")
    altered = DATA[:-1] + bytes([DATA[-1] ^ 1])
    stored.path.write_bytes(altered)
    with pytest.raises(ImageAltered) as raised:
        store.get(stored.sha256)
    assert raised.value.path == stored.path and raised.value.wanted == stored.sha256
    assert raised.value.found == hashlib.sha256(altered).hexdigest()


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.gif"):
        ImageStore(tmp_path).put(DATA, ".gif")


def test_a_disk_with_less_than_the_minimum_is_full(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, minimum_free_bytes=shutil.disk_usage(tmp_path).total * 2)
    with pytest.raises(DiskFull) as raised:
        store.put(DATA, ".jpg")
    assert raised.value.needed_bytes > raised.value.free_bytes > 0
    assert files(tmp_path) == []


LIMITED = """
import pathlib, sys
from storage.errors import DiskFull
from storage.images import ImageStore
try:
    ImageStore(pathlib.Path(sys.argv[1])).put(bytes(200_000), ".jpg")
except DiskFull as error:
    print("full", error.path)
"""


def test_a_write_that_the_system_cuts_short_leaves_nothing_behind(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit, check=True)
    assert answer.stdout == f"full {tmp_path}\n"
    assert files(tmp_path) == []


def test_the_sweep_removes_old_temporary_files_alone(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    stored = store.put(DATA, ".jpg")
    old, fresh = tmp_path / "temporary" / "old.tmp", tmp_path / "temporary" / "fresh.tmp"
    old.write_bytes(DATA)
    fresh.write_bytes(DATA)
    os.utime(old, (0, 0))
    assert store.sweep_temporary(older_than_seconds=3600) == 1
    assert sorted(files(tmp_path)) == sorted([fresh, stored.path])
    assert ImageStore(tmp_path / "nothing yet").sweep_temporary(0) == 0

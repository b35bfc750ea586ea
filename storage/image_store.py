"""Where images are kept: one file per image, named after the SHA-256 of its bytes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from storage.errors import DiskFull, ImageAltered, ImageMissing
from storage.image_header import SUFFIXES

logger = logging.getLogger(__name__)

NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SYNCS_AT_ONCE: Final = 16
"""The disk flushes for all that wait at once: 20 files took 80 ms one after another and 10 ms together."""
SYNCED_REMEMBERED: Final = 4096
UNREADABLE_SUFFIX: Final = ".bin"
"""What a camera delivered and nobody can read is evidence all the same."""
KEPT: Final = (*SUFFIXES.values(), UNREADABLE_SUFFIX)
SHA256: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredImage:
    """What the database keeps of a stored image; the MD5 is for exchange with other systems, not for trust."""

    sha256: str
    md5: str
    size_bytes: int
    path: Path


class ImageStore:
    """A folder of images, `sha256/ab/cd/<hash>.<ext>`; what is stored is never changed."""

    def __init__(self, root: Path, minimum_free_bytes: int = 0) -> None:
        self.root = root
        self.minimum_free_bytes = minimum_free_bytes
        self._durable_folders: set[Path] = set()
        self._durable_files: OrderedDict[Path, None] = OrderedDict()

    @cached_property
    def _syncs(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(SYNCS_AT_ONCE, thread_name_prefix="sync")

    def put(self, data: bytes, suffix: str) -> StoredImage:
        """Store the bytes at once or not at all; they survive a power cut only after `make_durable`."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._place(sha256, suffix)
        if not self._holds(path, data):
            self._require_room(len(data))
            with self._full_disk_named(len(data)):
                self._write(data, path)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return StoredImage(sha256, md5, len(data), path)

    def make_durable(self, sha256s: Iterable[str]) -> None:
        """Return when these images survive a power cut. Any process may ask, any number of times."""
        # What this process has synced lasts: a second sync of a clean file still costs milliseconds.
        files = {self.path(sha256) for sha256 in sha256s} - self._durable_files.keys()
        folders = {file.parent for file in files}
        # A new folder lasts once the folders above it do, which is once and for all: nothing here removes a folder.
        above = {parent for folder in folders - self._durable_folders for parent in list(folder.parents)[:2]}
        with self._full_disk_named(0):
            list(self._syncs.map(_sync, files | folders | above))
        self._durable_folders |= folders
        self._durable_files.update(dict.fromkeys(files))
        while len(self._durable_files) > SYNCED_REMEMBERED:
            self._durable_files.popitem(last=False)

    def get(self, sha256: str) -> bytes:
        """The bytes as they were stored, checked against their hash."""
        path = self.path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ImageMissing(path, sha256) from error
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise ImageAltered(path, sha256, found)
        return data

    def path(self, sha256: str) -> Path:
        """Where this image is, whatever its kind."""
        if not SHA256.fullmatch(sha256):
            raise ImageMissing(self.root, sha256)
        for suffix in KEPT:
            path = self._place(sha256, suffix)
            if path.exists():
                return path
        raise ImageMissing(self._place(sha256, ".*"), sha256)

    def sweep_temporary(self, older_than_seconds: float) -> int:
        """Remove what a killed process left half written; return how many files that were."""
        limit, swept = time.time() - older_than_seconds, 0
        for path in self._temporary.glob("*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime <= limit:
                    path.unlink()
                    swept += 1
        return swept

    @property
    def _temporary(self) -> Path:
        # One folder on the same disk: after a crash the sweep looks here and not through millions of images.
        return self.root / "temporary"

    def _place(self, sha256: str, suffix: str) -> Path:
        if suffix not in (*KEPT, ".*"):
            raise ValueError(f"suffix {suffix!r}; allowed are {', '.join(KEPT)}")
        return self.root / "sha256" / sha256[:2] / sha256[2:4] / (sha256 + suffix)

    def _holds(self, path: Path, data: bytes) -> bool:
        # The bytes are compared, not only their number: a power cut before make_durable can leave a file of the
        # right size full of zeros, and the repeated trigger would otherwise put its row on top of that.
        try:
            held = path.read_bytes() == data
        except FileNotFoundError:
            return False
        if not held:
            logger.warning("%s: not the image it is named after; stored again", path)
        return held

    def _require_room(self, needed_bytes: int) -> None:
        free_bytes = self._free_bytes()
        if free_bytes - needed_bytes < self.minimum_free_bytes:
            raise DiskFull(self.root, free_bytes, self.minimum_free_bytes + needed_bytes)

    @contextlib.contextmanager
    def _full_disk_named(self, needed_bytes: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_ROOM:
                raise DiskFull(self.root, self._free_bytes(), needed_bytes) from error
            raise

    def _free_bytes(self) -> int:
        there = next(folder for folder in (self.root, *self.root.absolute().parents) if folder.exists())
        return shutil.disk_usage(there).free

    def _write(self, data: bytes, path: Path) -> None:
        temporary = self._temporary / f"{uuid.uuid4().hex}.tmp"
        try:
            _write_file(temporary, data)
            _rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _write_file(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def _sync(path: Path) -> None:
    """fsync works on any descriptor of the file, so whoever needs the image durable can see to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if sys.platform == "darwin":  # there fsync stops at the drive's cache
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

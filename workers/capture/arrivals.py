"""Image files in a folder: which there are, in which order, and which of them are completely written."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from storage.image_files import image_files, is_image_name, natural_order

logger = logging.getLogger(__name__)

CHEAP_SECONDS = 0.01  # a listing that takes no longer than this is made at every poll
LISTING_SHARE = 0.2  # of the time goes into longer ones: a folder of 100,000 files takes half a second of a core

EMPTY_SECONDS = 300.0
"""A file that is empty for so long is not being written: whoever wrote it has failed, and the part wants a verdict."""

FileState = tuple[int, int]
"""Size in bytes and time of the last change in ns: as long as either moves, somebody is writing."""


def file_state(path: Path) -> FileState | None:
    """None when the file is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def complete_files(folder: Path, settle_seconds: float) -> list[Path]:
    """The image files with content nobody is writing: waits once for settle_seconds when some changed that recently."""
    before = {path: file_state(path) for path in image_files(folder)}
    newest_ns = max((state[1] for state in before.values() if state), default=0)
    if time.time_ns() - newest_ns < settle_seconds * 1e9:
        time.sleep(settle_seconds)
    return [path for path, state in before.items() if state and state[0] and file_state(path) == state]


def listing(folder: Path) -> tuple[int, dict[str, FileState | None]]:
    """The device the folder is on and each image file's state; None for one that cannot be looked at."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # one folder throughout, whatever is mounted meanwhile
    try:
        with os.scandir(descriptor) as entries:
            found = {entry.name: entry_state(entry) for entry in entries if is_image_name(entry.name)}
        return os.fstat(descriptor).st_dev, found
    finally:
        os.close(descriptor)


def entry_state(entry: os.DirEntry[str]) -> FileState | None:
    try:
        status = entry.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


class FileArrivals:
    """Image files that have newly arrived in a folder, each handed over once, and again when it is written anew.

    An empty one is handed over, too, when it stays empty: nothing that a camera was to write goes without a verdict.

    What was handed over is remembered by this object alone, for as long as the file is there; `already_seen` asks what
    earlier processes saw. `forget` is told which files are gone, and `tidy` what there is when it begins or another
    device is there.
    """

    def __init__(
        self,
        folder: Path,
        already_seen: Callable[[Path], bool],
        settle_seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        forget: Callable[[list[Path]], None] = lambda gone: None,
        tidy: Callable[[Mapping[str, FileState | None]], None] = lambda found: None,
    ) -> None:
        self.folder = folder
        self._already_seen, self._forgotten, self._tidy = already_seen, forget, tidy
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._device: int | None = None
        self._list_at = clock()
        self._done: dict[str, FileState] = {}
        self._waiting: dict[str, tuple[FileState, float]] = {}

    def poll(self) -> list[Path]:
        """Files completed since the last poll, the oldest first; OSError while the folder is not there."""
        if self._clock() >= self._list_at:
            self._list()
        else:
            self._look_at({name: file_state(self.folder / name) for name in self._waiting})
        arrived = [name for name, (state, since) in self._waiting.items() if self._is_settled(state, since)]
        arrived.sort(key=lambda name: (self._waiting[name][0][1], natural_order(Path(name))))
        for name in arrived:
            self._done[name] = self._waiting.pop(name)[0]
            if not self._done[name][0]:
                logger.warning("%s has been empty for %g minutes", self.folder / name, EMPTY_SECONDS / 60)
        return [self.folder / name for name in arrived]

    def _is_settled(self, state: FileState, since: float) -> bool:
        size, _ = state
        return self._clock() - since >= (self._settle_seconds if size else max(EMPTY_SECONDS, self._settle_seconds))

    def _list(self) -> None:
        """Look at every file, however old: a camera may use its names again."""
        started = time.perf_counter()
        device, found = listing(self.folder)
        if found:  # an empty folder is what an unmounted share looks like: its files may come back
            self._forget(device, found)
        self._look_at({name: state for name, state in found.items() if self._done.get(name) != state})
        took = time.perf_counter() - started
        self._list_at = self._clock() + (took / LISTING_SHARE if took > CHEAP_SECONDS else 0.0)

    def _forget(self, device: int, found: dict[str, FileState | None]) -> None:
        """Forget names that are no longer there: when they come back, they are other parts."""
        if device != self._device:  # a share was mounted here, or is no longer: these are other files
            self._done.clear()
            self._tidy(found)
        self._device = device
        gone = self._done.keys() - found.keys()
        if gone:
            self._forgotten([self.folder / name for name in gone])
        for name in gone:
            del self._done[name]
        for name in self._waiting.keys() - found.keys():
            del self._waiting[name]

    def _look_at(self, states: dict[str, FileState | None]) -> None:
        """Files that were not handed over in this state: how long have they been as they are?"""
        now = self._clock()
        for name, state in states.items():
            known = self._waiting.get(name)
            if state is None:
                self._waiting.pop(name, None)
            elif known is None and self._already_seen(self.folder / name):
                self._done[name] = state
            elif known is None or known[0] != state:
                self._waiting[name] = (state, now)

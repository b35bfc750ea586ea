"""Image files in a folder: which there are, in which order, and which of them are completely written."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from storage.image_files import image_files, natural_order

REWRITABLE = 256
"""So many of the newest files are looked at for being written anew: cameras that always write one name do that."""

FileState = tuple[int, int]
"""Size in bytes and time of the last change in ns: as long as either moves, somebody is writing."""


def file_state(path: Path) -> FileState | None:
    """None when the file is gone or empty."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return (status.st_size, status.st_mtime_ns) if status.st_size else None


def complete_files(folder: Path, settle_seconds: float) -> list[Path]:
    """The image files nobody is writing: waits once for settle_seconds when some changed that recently."""
    before = {path: file_state(path) for path in image_files(folder)}
    newest_ns = max((state[1] for state in before.values() if state), default=0)
    if time.time_ns() - newest_ns < settle_seconds * 1e9:
        time.sleep(settle_seconds)
    return [path for path, state in before.items() if state is not None and file_state(path) == state]


class FileArrivals:
    """Image files that have newly arrived in a folder, each handed over once, and again when it is written anew.

    What was handed over is remembered by this object alone; `already_seen` asks what earlier processes saw.
    """

    def __init__(
        self,
        folder: Path,
        already_seen: Callable[[Path], bool],
        settle_seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        remembered_names: int = 100_000,
    ) -> None:
        self.folder = folder
        self._already_seen = already_seen
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._remembered_names = remembered_names
        self._done: dict[Path, None] = {}
        self._newest: OrderedDict[Path, FileState] = OrderedDict()
        self._waiting: dict[Path, tuple[FileState, float]] = {}

    def poll(self) -> list[Path]:
        """Files completed since the last poll, the oldest first; OSError while the folder is not there."""
        present = image_files(self.folder)
        arrived = [path for path in present if self._is_awaited(path) and self._is_settled(path)]
        arrived.sort(key=lambda path: (self._waiting[path][0][1], natural_order(path)))
        for path in arrived:
            self._hand_over(path, self._waiting.pop(path)[0])
        self._forget(present)
        return arrived

    def _is_awaited(self, path: Path) -> bool:
        """Never handed over, or written anew since."""
        if path not in self._done or path in self._waiting:
            return True
        handed_over = self._newest.get(path)
        return handed_over is not None and file_state(path) not in (None, handed_over)

    def _hand_over(self, path: Path, state: FileState) -> None:
        self._done[path] = None
        self._newest[path] = state
        self._newest.move_to_end(path)
        while len(self._newest) > REWRITABLE:
            self._newest.popitem(last=False)

    def _is_settled(self, path: Path) -> bool:
        if path not in self._waiting and self._already_seen(path):
            self._done[path] = None
            return False
        state, now = file_state(path), self._clock()
        if state is None:
            return False
        known, since = self._waiting.get(path, (None, now))
        if known != state:
            since = now
        self._waiting[path] = (state, since)
        return now - since >= self._settle_seconds

    def _forget(self, present: list[Path]) -> None:
        """Forget names long gone; not all of them at once, for an unmounted folder comes back with its files."""
        here = set(present)
        for path in [path for path in self._waiting if path not in here]:
            del self._waiting[path]
        surplus = len(self._done) - len(here) - self._remembered_names
        if surplus > 0:
            for path in [path for path in self._done if path not in here][:surplus]:
                del self._done[path]

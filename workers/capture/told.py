"""The files of a watched folder that had their trigger, as Redis remembers them over a restart."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from storage.events import storable
from storage.stream import EventLog, text
from workers.capture.arrivals import FileState
from workers.capture.trigger import arrival_state

FORGOTTEN_AT_ONCE = 1000


class ToldFiles:
    """Remembers for as long as the files are there: a folder that is cleared up does not fill Redis."""

    def __init__(self, log: EventLog, station: str, folder: Path, pattern: str) -> None:
        self.log, self.station, self.folder, self.pattern = log, station, folder, pattern

    def already_seen(self, path: Path) -> bool:
        """What does not match the pattern is never told."""
        return not fnmatch(path.name, self.pattern) or self.log.arrived(self.station, str(path)) == arrival_state(path)

    def forget(self, paths: list[Path]) -> None:
        self.log.forget_arrived(self.station, [str(path) for path in paths])

    def tidy(self, found: Mapping[str, FileState | None]) -> None:
        """Forget what went while nobody watched, if a file that is known shows that this is the folder it was in."""
        here = {text(storable(str(self.folder / name))): state for name, state in found.items()}
        told = self.log.arrived_files(self.station)
        if not any((state := here.get(path)) and as_told(state) == known for path, known in told):
            return
        within = f"{text(storable(str(self.folder)))}/"
        gone = (
            path for path, _ in self.log.arrived_files(self.station) if path.startswith(within) and path not in here
        )
        while batch := list(islice(gone, FORGOTTEN_AT_ONCE)):
            self.log.forget_arrived(self.station, batch)


def as_told(state: FileState) -> str:
    size, changed_ns = state
    return f"{size}-{changed_ns}"

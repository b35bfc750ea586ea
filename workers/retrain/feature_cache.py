"""Features of frames on disk, so that a frame is looked at once: by its SHA-256 and by how it was looked at.

Nothing here need survive: what is gone, cut short or altered is told by its hash, and made again from the frame.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

SUFFIX: Final = ".2.safetensors"
"""With the version of what stands in a file: of another version there is nothing, and its files are the first to go."""
DIGEST: Final = "sha256"

Arrays = dict[str, NDArray[Any]]


class FeatureCache:
    """A folder `<look>/<ab>/<sha256>.safetensors`. look: the key of backbone, its weights and the preprocessing."""

    def __init__(self, folder: Path, maximum_bytes: int) -> None:
        self.folder, self.maximum_bytes = folder, maximum_bytes
        self.put_bytes = 0  # since it was trimmed

    def place(self, look: str, frame: str) -> Path:
        return self.folder / look / frame[:2] / f"{frame}{SUFFIX}"

    def get(self, look: str, frame: str) -> Arrays | None:
        """What `put` was given, to the bit; None when it is not there any more, or not as it was."""
        path = self.place(look, frame)
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}
                wanted = (file.metadata() or {}).get(DIGEST)
        except (OSError, safetensors.SafetensorError):
            return None
        if digest(look, frame, found) != wanted:
            path.unlink(missing_ok=True)
            return None
        with suppress(FileNotFoundError):  # somebody empties the folder
            os.utime(path)  # used last now
        return found

    def holds(self, look: str, frame: str) -> bool:
        """Whether there is anything, which counts as used now; whether it is as it was, `get` finds out."""
        try:
            os.utime(self.place(look, frame))
        except FileNotFoundError:
            return False
        return True

    def put(self, look: str, frame: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """At once or not at all; without waiting for the disk.

        Trimmed when as much was put as there may be: twice that is never there. Not sooner, or who goes through more
        frames than fit would find each gone just before it is wanted.
        """
        path = self.place(look, frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{frame}.{os.getpid()}")
        kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self.put_bytes += draft.write_bytes(safetensors.numpy.save(kept, metadata={DIGEST: digest(look, frame, kept)}))
        draft.replace(path)
        if self.put_bytes > self.maximum_bytes:
            self.trim()

    def trim(self) -> int:
        """Remove what was not used for longest until the rest fits; how many files that was."""
        found = [(status.st_mtime_ns, status.st_size, path) for path, status in self.files()]
        total, removed, self.put_bytes = sum(size for _, size, _ in found), 0, 0
        for _, size, path in sorted(found):
            if total <= self.maximum_bytes:
                break
            path.unlink(missing_ok=True)
            total, removed = total - size, removed + 1
        return removed

    def files(self) -> list[tuple[Path, os.stat_result]]:
        return [(path, path.stat()) for path in self.folder.rglob("*.safetensors")]


def digest(look: str, frame: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Of whose they are, and of names, kinds, shapes and values."""
    hashed = sha256(f"{look} {frame};".encode())
    for name in sorted(arrays):
        array = arrays[name]
        hashed.update(f"{name} {array.dtype} {array.shape};".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()

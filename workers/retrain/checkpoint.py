"""How far a training run got, on disk: one file a phase, whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

from storage.training_models import Phase


class Checkpoint:
    """The folder of one run. What a phase left here, it need not do again."""

    def __init__(self, training: Path, run_id: UUID) -> None:
        self.folder = training / str(run_id)

    def read(self, phase: Phase) -> dict[str, Any] | None:
        """What the phase left; None when it was not finished."""
        try:
            found: dict[str, Any] = json.loads(self.file(phase).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def write(self, phase: Phase, left: dict[str, Any]) -> None:
        """On disk before its name is there: a reader, and a machine whose power failed, sees all of it or nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_durably(self.file(phase), json.dumps(left, indent=1, default=str).encode())

    def file(self, phase: Phase) -> Path:
        return self.folder / f"{phase}.json"

    @property
    def candidate(self) -> Path:
        """The model it made, before it has a place among the others."""
        return self.folder / "candidate"

    @property
    def prompts(self) -> Path:
        """Where prompts are learned, epoch by epoch."""
        return self.folder / ".prompts"

    def done(self) -> list[Phase]:
        return [phase for phase in Phase if self.file(phase).exists()]

    def forget(self) -> None:
        """Of a run that ended, what was only for resuming."""
        for phase in Phase:
            self.file(phase).unlink(missing_ok=True)
        for left in (*self.folder.glob(".*"), self.candidate):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def write_durably(file: Path, data: bytes) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with draft.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)
    sync_folder(file.parent)


def put_in_place(draft: Path, folder: Path) -> None:
    """Give a finished folder its name; a crash leaves the draft, which nobody names, or the whole."""
    for file in draft.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    sync_folder(draft)
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed before its row was written
    draft.replace(folder)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """So that the names in it outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Locks on a folder that end with the process that holds them."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from orchestrator.folders import private_folder
from orchestrator.processes import ProcessMark
from storage.errors import LineBusy, ServiceFailed

# `line_holder` takes the lock for a moment to see whether it is free; that must not turn a start away.
PATIENCE_SECONDS = 0.3


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Wait for the file's lock and hold it."""
    with open_lock(file) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def open_lock(file: Path) -> IO[str]:
    """A lock file is never removed: two processes could then hold two files of one name."""
    try:
        private_folder(file.parent)
        return os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except PermissionError as error:
        raise ServiceFailed(f"{file}: permission denied; run adline as the user that owns the folder") from error


def try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def line_lock(home: Path, what: str) -> Iterator[None]:
    """Be the one process that runs this home (`start`, or a short command that must not meet a running line)."""
    with open_lock(_line_file(home)) as file:
        _take(file, home)
        _write(file, ProcessMark.of(psutil.Process(), what))
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()


def line_holder(home: Path) -> ProcessMark | None:
    """Who runs this home now; the file of a dead process holds nothing."""
    if not _line_file(home).exists():
        return None
    with open_lock(_line_file(home)) as file:
        return None if try_lock(file, fcntl.LOCK_SH) else _read(file)


def _line_file(home: Path) -> Path:
    return home / "run" / "line.lock"


def _take(file: IO[str], home: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not try_lock(file, fcntl.LOCK_EX):
        if time.monotonic() > until:
            holder = _read(file)
            raise LineBusy(home, holder.pid if holder else 0, holder.what if holder else "start")
        time.sleep(0.02)


def _write(file: IO[str], mark: ProcessMark) -> None:
    file.seek(0)
    file.truncate()
    json.dump({"pid": mark.pid, "create_time": mark.create_time, "what": mark.what}, file)
    file.flush()


def _read(file: IO[str]) -> ProcessMark | None:
    """None in the instant between taking the lock and writing the name."""
    file.seek(0)
    try:
        row = json.load(file)
        return ProcessMark(int(row["pid"]), float(row["create_time"]), str(row["what"]))
    except (ValueError, KeyError):
        return None

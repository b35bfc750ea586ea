"""The processes of a run, recorded so that the next one can end what a killed run left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from orchestrator.folders import private_folder
from orchestrator.processes import ProcessMark, end, read_marks, write_marks

GRACE_SECONDS = 5.0
SERVICES = ("postgres", "valkey")
"""These outlive a killed run on purpose: others may be using them, and the next start adopts them."""


def service_file(home: Path, name: str) -> Path:
    """Where an embedded service is marked."""
    return home / "run" / f"{name}.json"


def record(home: Path, process: psutil.Process, what: str) -> None:
    """Remember one process of this run."""
    _remember(home, [ProcessMark.of(process, what)])


def record_children(home: Path) -> None:
    """Remember every descendant of this process, the embedded services excepted."""
    _remember(home, _marks(psutil.Process().children(recursive=True), _service_pids(home)))


def forget(home: Path) -> None:
    """After a clean stop there is nothing left to sweep."""
    _file(home).unlink(missing_ok=True)


def sweep(home: Path, grace_seconds: float = GRACE_SECONDS) -> list[ProcessMark]:
    """End what a killed run left behind and what it has started since; return what was ended.

    The caller holds the line lock, so that no run is alive.
    """
    left = _left_behind(home)
    end([process for mark in left if (process := mark.process())], ask=signal.SIGTERM, grace_seconds=grace_seconds)
    forget(home)
    return left


def _left_behind(home: Path) -> list[ProcessMark]:
    spared = _service_pids(home) | _ourselves()
    alive = [mark for mark in read_marks(_file(home)) if mark.pid not in spared and mark.process()]
    known = {mark.pid for mark in alive}
    return alive + [mark for each in alive for mark in _descendants(each, spared) if mark.pid not in known]


def _descendants(mark: ProcessMark, spared: set[int]) -> list[ProcessMark]:
    try:
        return _marks(psutil.Process(mark.pid).children(recursive=True), spared)
    except psutil.NoSuchProcess:
        return []


def _marks(processes: Iterable[psutil.Process], spared: set[int]) -> list[ProcessMark]:
    marks = []
    for process in processes:
        try:
            if process.pid not in spared:
                marks.append(ProcessMark.of(process, process.name()))
        except psutil.Error:
            continue  # it has ended since it was listed
    return marks


def _remember(home: Path, new: list[ProcessMark]) -> None:
    kept = {mark.pid: mark for mark in read_marks(_file(home)) if mark.process()}
    write_marks(_file(home), list((kept | {mark.pid: mark for mark in new}).values()))


def _ourselves() -> set[int]:
    return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}


def _service_pids(home: Path) -> set[int]:
    """The services and their own children (a Postgres backend must not be signalled behind its server's back)."""
    pids = set()
    for name in SERVICES:
        for mark in read_marks(service_file(home, name)):
            if process := mark.process():
                pids |= {process.pid, *(child.pid for child in process.children(recursive=True))}
    return pids


def _file(home: Path) -> Path:
    return private_folder(home / "run") / "processes.json"

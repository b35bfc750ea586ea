"""Processes of this machine, known by pid and start time: started, recorded, found again, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from orchestrator.account import Account

# Linux counts a start time from the boot time, which it gives in whole seconds: two processes may read it 1 s apart.
CREATE_TIME_SLACK_SECONDS = 1.5
KILLED_SECONDS = 5.0


@dataclass(frozen=True)
class ProcessMark:
    """Which process it was: a number alone may by now belong to another."""

    pid: int
    create_time: float
    what: str

    @classmethod
    def of(cls, process: psutil.Process, what: str) -> ProcessMark:
        return cls(process.pid, process.create_time(), what)

    def process(self) -> psutil.Process | None:
        """The process, if it is alive and still the one that was marked."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) <= CREATE_TIME_SLACK_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def read_marks(file: Path) -> list[ProcessMark]:
    """What is recorded there; nothing when the file is missing or was torn by a crash of the machine."""
    try:
        return [ProcessMark(int(row["pid"]), float(row["create_time"]), str(row["what"])) for row in _rows(file)]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def _rows(file: Path) -> list[dict[str, int | float | str]]:
    rows: list[dict[str, int | float | str]] = json.loads(file.read_text())
    return rows


def write_marks(file: Path, marks: Sequence[ProcessMark]) -> None:
    """Replace the record in one step, so that a reader never sees half of it."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    draft.write_text(json.dumps([asdict(mark) for mark in marks]))
    draft.replace(file)


def spawn(command: Sequence[str], *, folder: Path, log: Path, account: Account | None) -> psutil.Process:
    """Start a server in the folder, away from our terminal, its words going to the log."""
    with log.open("ab") as lines:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=server_environment(),
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=lines,
            # Ctrl-C goes to every process of the terminal's group; the servers must outlive the workers.
            start_new_session=True,
            umask=0o077,
            **(account.switch() if account else {}),
        )
    # Someone must wait for a child, or it stays in the process table as a zombie that looks alive.
    threading.Thread(target=child.wait, name=f"wait for {child.pid}", daemon=True).start()
    return psutil.Process(child.pid)


def server_environment() -> dict[str, str]:
    """Without the caller's PGPORT, PGOPTIONS and the like: they would reconfigure the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def processes_inside(folder: Path, program: str) -> list[psutil.Process]:
    """Those running this program with the folder as their working directory: a server in its own data."""
    return [process for process in psutil.process_iter() if _is_inside(process, folder, program)]


def _is_inside(process: psutil.Process, folder: Path, program: str) -> bool:
    try:
        # The program is asked for too: a person's shell may stand in the folder.
        return process.cwd() == str(folder) and Path(process.exe()).name.split(" ")[0] == program
    except (psutil.Error, OSError):
        return False


def end(processes: Iterable[psutil.Process], *, ask: signal.Signals, grace_seconds: float) -> None:
    """Ask each to end, and kill those that have not after the grace period."""
    asked = [process for process in processes if _send(process, ask)]
    _, stubborn = psutil.wait_procs(asked, timeout=grace_seconds)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=KILLED_SECONDS)


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    """psutil compares the start time before it sends, so a reused number is never hit."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True

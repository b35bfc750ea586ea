"""What the embedded servers have in common: found again, started, asked, stopped."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import psutil

from orchestrator.account import Account
from orchestrator.folders import last_lines, log_file, private_folder, remove_link
from orchestrator.leftovers import service_file
from orchestrator.lock import exclusive
from orchestrator.processes import ProcessMark, end, processes_inside, read_marks, spawn, write_marks
from storage.errors import ServiceFailed

START_SECONDS = 120.0
"""Long enough to replay the log of a crashed database on a slow disk."""
ADOPT_SECONDS = 10.0
STOP_SECONDS = 10.0


class EmbeddedService(ABC):
    """A server of ours in a folder of the home. It outlives the process that started it until somebody stops it."""

    name: str
    program: str
    stop_signal: signal.Signals
    restartable = True

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        """durable=False gives up the safety of the data for speed: for tests."""
        self.home = home.resolve()
        self.durable = durable

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The server's data and working directory."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what the server needs before it starts."""

    @abstractmethod
    def command(self) -> Sequence[str]: ...

    @abstractmethod
    def trouble(self) -> str | None:
        """Ask the server for real; None when it answers as it should."""

    def account(self) -> Account | None:
        return None

    @abstractmethod
    def furnish(self) -> None:
        """Make what a user of a fresh server expects to find. May be repeated."""

    def is_healthy(self) -> bool:
        return self.trouble() is None

    def is_alive(self) -> bool:
        return self.process() is not None

    def process(self) -> psutil.Process | None:
        """The server's main process."""
        return next((found for mark in read_marks(self._mark_file) if (found := mark.process())), None)

    def start(self) -> None:
        """Return when the server answers: adopt the one that runs, else start it. May be repeated."""
        with exclusive(self._gate):
            if not self._adopt():
                self._end_all()
                self._launch()
            self.furnish()

    def stop(self) -> None:
        """End the server with its data written. May be repeated."""
        with exclusive(self._gate):
            self._end_all()
            self._mark_file.unlink(missing_ok=True)
            remove_link(self.folder)

    def _adopt(self) -> bool:
        """Take over the server that a killed run, or a command in another terminal, has in this folder."""
        until = time.monotonic() + ADOPT_SECONDS
        while (leaders := self._leaders()) and time.monotonic() < until:
            if len(leaders) == 1 and self.is_healthy():
                self._mark(leaders[0])
                return True
            time.sleep(0.05)
        return False

    def _launch(self) -> None:
        self.prepare()
        log = log_file(self.home, self.name)
        try:
            process = spawn(self.command(), folder=self.folder, log=log, account=self.account())
            self._mark(process)
            self._wait_until_healthy(process)
        except (OSError, psutil.NoSuchProcess) as error:
            raise ServiceFailed(f"{self.name} in {self.folder} does not start: {error}\n{last_lines(log)}") from error

    def _wait_until_healthy(self, process: psutil.Process) -> None:
        until = time.monotonic() + START_SECONDS
        while (trouble := self.trouble()) is not None:
            if not process.is_running() or time.monotonic() > until:
                self._end_all()
                log = log_file(self.home, self.name)
                raise ServiceFailed(f"{self.name} in {self.folder} does not start: {trouble}\n{last_lines(log)}")
            time.sleep(0.02)

    def _end_all(self) -> None:
        end(self._leaders(), ask=self.stop_signal, grace_seconds=STOP_SECONDS)
        # What is left lost its leader and ends by itself; two servers in one folder would destroy the data.
        end(self._inside(), ask=signal.SIGTERM, grace_seconds=STOP_SECONDS)

    def _inside(self) -> list[psutil.Process]:
        return processes_inside(self.folder, self.program)

    def _leaders(self) -> list[psutil.Process]:
        """The processes in the folder that no other process in the folder has started."""
        inside = self._inside()
        pids = {process.pid for process in inside}
        return [process for process in inside if _parent(process) not in pids]

    def _mark(self, process: psutil.Process) -> None:
        write_marks(self._mark_file, [ProcessMark.of(process, self.name)])

    @property
    def _mark_file(self) -> Path:
        private_folder(self.home / "run")
        return service_file(self.home, self.name)

    @property
    def _gate(self) -> Path:
        """Held while the server is started or stopped, so that it is done once."""
        return self.home / "run" / f"{self.name}.gate"


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return 0

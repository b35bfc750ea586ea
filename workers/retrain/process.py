"""The process that trains: started low in priority, ended with whoever started it.

Training takes 600 MB that nobody else should miss afterwards, and may be killed at any moment: hence a process of its
own. It reads its plan from standard input and ends when that is closed, which the kernel does for a parent that died.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from workers.retrain.plan import TrainerPlan

NICE = 19
PROGRAM = "workers.retrain.trainer"
END_SECONDS = 5.0


class TrainerProcess:
    """One process that works on one run."""

    def __init__(self, plan: TrainerPlan, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        # The same code as here, wherever this was started from.
        code = os.pathsep.join(filter(None, sys.path))
        environment = {**os.environ, "OMP_NUM_THREADS": str(plan.threads), "PYTHONPATH": code}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; its log and its exit code tell
            self.process.stdin.write(plan.to_json().encode() + b"\n")
            self.process.stdin.flush()

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> int | None:
        """Its exit code; negative when a signal ended it. None while it lives."""
        return self.process.poll()

    def stop(self) -> None:
        """End it where it is; what it left is resumed."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def step_back(idle_only: bool) -> None:
    """Let everything else on the machine go first; to be called before threads are started, which inherit it."""
    os.nice(max(0, NICE - os.nice(0)))
    if idle_only and hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # forbidden in some containers; then nice has to do
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def end_with_parent(given: IO[str]) -> None:
    """End this process when nobody holds the other end any more."""

    def wait() -> None:
        while given.read(1):
            pass
        os._exit(0)

    threading.Thread(target=wait, name="parent", daemon=True).start()

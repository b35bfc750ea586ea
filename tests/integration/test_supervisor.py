"""The supervisor on a real Ray: whatever one worker does, the others are looked after, and what hangs is replaced."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator import supervisor as module
from orchestrator.supervisor import Supervisor, Task, WorkerHealth

PATIENCE_SECONDS = 120.0
STALLED_SECONDS = 4.0


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """Ray, and a watch that does not wait long; nothing of it is left afterwards."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="adline-") as short:
        for name in (
            *module.RAY,
            *module.STEADY_MEMORY,
            *module.ADDED_BY_LIBRARIES,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
        ):
            patch.setenv(name, os.environ.get(name, ""))  # to be put back; what it is, connect says
            patch.delenv(name)
        patch.setattr(module, "CHECK_SECONDS", 0.05)
        patch.setattr(module, "ANSWER_SECONDS", 1.0)
        patch.setattr(module, "PENDING_CALLS", 3)
        up = Supervisor(
            tmp_path_factory.mktemp("logs"),
            object_store_bytes=80 << 20,
            hot_frames=0,
            temporary=Path(short),
            stalled_seconds=STALLED_SECONDS,
        )
        up.connect()
        started = psutil.Process().children(recursive=True)
        yield up
        up.shutdown()
        _, left = psutil.wait_procs(started, timeout=20)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def workers(up: Supervisor) -> Iterator[list[Task]]:
    """Two idle workers, and one that asks for a machine which is not there."""
    idle = [Task(stage=name, name=name, worker="tests.integration.idle:Idle", arguments={}) for name in ("one", "two")]
    away = Task("away", "away", "tests.integration.idle:Idle", {}, resources={"camera_pc": 1.0})
    up.start([*idle, away])
    yield [*idle, away]
    for task in (*idle, away):
        up.stop_stage(task.stage, 2.0)


def health(up: Supervisor, name: str) -> WorkerHealth:
    return next(one for one in up.health() if one.name == name)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def running(up: Supervisor, *names: str) -> bool:
    return all(health(up, name).state == "running" for name in names)


def test_one_that_has_no_place_ends_no_watch_and_what_hangs_or_dies_comes_back(
    up: Supervisor, workers: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    rounds: list[float] = []

    def stumble() -> None:
        rounds.append(time.monotonic())
        if len(rounds) == 1:
            raise KeyError("unforeseen")

    thread = up.watch(stumble)
    wait_until(lambda: running(up, "one", "two"), "the idle workers run")
    wait_until(lambda: len(rounds) > 5 * module.PENDING_CALLS, "more was asked than may be pending")
    assert thread.is_alive()
    assert health(up, "away").state == "starting"

    hung = health(up, "one").pid
    os.kill(hung, signal.SIGSTOP)
    wait_until(lambda: health(up, "one").state == "silent", "its silence is told")
    assert "no answer for" in health(up, "one").detail
    wait_until(lambda: running(up, "one") and health(up, "one").pid != hung, "what hangs is replaced")
    wait_until(lambda: not psutil.pid_exists(hung), "the process that hung is gone")
    assert health(up, "one").restarts == 1
    assert "does not answer" in caplog.text

    died = health(up, "two").pid
    os.kill(died, signal.SIGKILL)
    wait_until(lambda: running(up, "two") and health(up, "two").pid != died, "what died is back")
    pids = {health(up, name).pid for name in ("one", "two")}
    time.sleep(STALLED_SECONDS + 1)
    assert pids == {health(up, name).pid for name in ("one", "two")}, "what answers is not replaced"
    up.watching.set()
    thread.join(PATIENCE_SECONDS)
    up.watching = threading.Event()
    assert not thread.is_alive()

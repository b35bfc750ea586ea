"""One line in a folder, and what a killed run leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.leftovers import forget, record, record_children, service_file, sweep
from orchestrator.lock import line_holder, line_lock
from orchestrator.processes import ProcessMark, read_marks, write_marks
from storage.errors import LineBusy

ROOT = Path(__file__).parents[2]
HOLD = """
    import sys
    from pathlib import Path
    from orchestrator.lock import line_lock
    with line_lock(Path(sys.argv[1]), "start"):
        print("held", flush=True)
        sys.stdin.read()
"""
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(600)
"""
RUN = """
    import os, signal, subprocess, sys
    from pathlib import Path
    from orchestrator.leftovers import record_children
    stubborn = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdout=subprocess.PIPE)
    stubborn.stdout.readline()
    parent = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True)
    grandchild = parent.stdout.readline().decode().strip()
    record_children(Path(sys.argv[1]))
    print(stubborn.pid, parent.pid, grandchild, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_a_second_line_in_the_folder_is_turned_away(tmp_path: Path) -> None:
    with start(HOLD, tmp_path) as first:
        assert said(first) == "held"
        with pytest.raises(LineBusy, match=f"process {first.pid} already runs the line in") as raised:
            with line_lock(tmp_path, "start"):
                pass
        assert (raised.value.home, raised.value.pid) == (tmp_path, first.pid)
        holder = line_holder(tmp_path)
        assert holder and (holder.pid, holder.what) == (first.pid, "start")
        first.kill()


def test_the_lock_of_a_killed_line_does_not_hold(tmp_path: Path) -> None:
    with start(HOLD, tmp_path) as killed:
        assert said(killed) == "held"
        killed.kill()
    assert line_holder(tmp_path) is None
    with line_lock(tmp_path, "start"):
        holder = line_holder(tmp_path)
        assert holder and holder.pid == os.getpid()


def test_a_short_command_says_what_it_is(tmp_path: Path) -> None:
    with line_lock(tmp_path, "db migrate"):
        with pytest.raises(LineBusy, match="already runs `adline db migrate`"):
            with line_lock(tmp_path, "start"):
                pass
    assert line_holder(tmp_path) is None


def test_a_folder_without_a_line_has_no_holder(tmp_path: Path) -> None:
    assert line_holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_everything_a_killed_run_left_is_ended(tmp_path: Path) -> None:
    with start(RUN, tmp_path, textwrap.dedent(STUBBORN)) as run:
        pids = [int(word) for word in said(run).split()]
    assert run.returncode == -signal.SIGKILL
    assert len(pids) == 3 and all(map(psutil.pid_exists, pids))
    assert {mark.pid for mark in sweep(tmp_path, grace_seconds=1)} >= set(pids)
    assert not any(is_running(pid) for pid in pids)
    assert sweep(tmp_path) == []


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_number_that_belongs_to_another_process_now_is_never_ended(tmp_path: Path, bystander: psutil.Process) -> None:
    record(tmp_path, bystander, "inference worker")
    file = tmp_path / "run" / "processes.json"
    rows = json.loads(file.read_text())
    rows[0]["create_time"] -= 60
    file.write_text(json.dumps(rows))
    assert sweep(tmp_path) == []
    assert bystander.is_running()


def test_a_shared_service_is_not_swept(tmp_path: Path, bystander: psutil.Process) -> None:
    (tmp_path / "run").mkdir()
    write_marks(service_file(tmp_path, "postgres"), [ProcessMark.of(bystander, "postgres")])
    record_children(tmp_path)
    # This process may have other children, the servers of other tests: they are not this test's to sweep.
    assert bystander.pid not in {mark.pid for mark in read_marks(tmp_path / "run" / "processes.json")}
    forget(tmp_path)
    record(tmp_path, bystander, "marked by mistake")
    assert sweep(tmp_path) == []
    assert bystander.is_running()


def test_a_clean_stop_leaves_nothing_to_sweep(tmp_path: Path, bystander: psutil.Process) -> None:
    record(tmp_path, bystander, "capture worker")
    forget(tmp_path)
    assert sweep(tmp_path) == []
    assert bystander.is_running()


def test_a_torn_record_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "processes.json").write_text('[{"pid": 1')
    assert sweep(tmp_path) == []


def test_a_sweep_never_ends_itself_or_its_parents(tmp_path: Path) -> None:
    record(tmp_path, psutil.Process(), "ourselves")
    record(tmp_path, psutil.Process(os.getppid()), "our parent")
    assert sweep(tmp_path) == []

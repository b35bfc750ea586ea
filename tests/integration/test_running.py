"""A running line seen from another terminal: asked over HTTP, triggered, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.configuration import load_settings
from orchestrator.lock import line_holder, line_lock
from orchestrator.running import announced, announced_address, require_line, running_line, url_of
from storage.errors import LineNotRunning, LineRefused, LineSilent
from tests.command import Command

ROOT = Path(__file__).parents[2]
HOLD = """
    import signal, sys, threading
    from pathlib import Path
    from orchestrator.lock import line_lock
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with line_lock(Path(sys.argv[1]), "start"):
        print("held", flush=True)
        while not ended.wait(0.05):
            pass
"""
TOKEN = "of this run"
VIEW = {"verdict": "NG", "reason": "score 0.9", "anomaly_score": 0.9, "model_version": "m-1", "recorded_at": "now"}


class Answers(BaseHTTPRequestHandler):
    """Another program's server on this machine: says what a line says, under any pid."""

    pid = 0
    asked = 0

    def do_GET(self) -> None:
        if self.path == "/api/v1/status":
            self.answer(200, {"pid": self.pid, "line": "line-1", "state": "running"})
        else:
            type(self).asked += 1
            found = type(self).asked > 2
            self.answer(200 if found else 404, [VIEW, {**VIEW, "anomaly_score": None}] if found else {"detail": "no"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        station = self.path.split("/")[-2]
        if station == "press":
            self.answer(202, {"station": station, "inspection_id": "i-1", "trigger_number": 7, **body})
        elif station == "odd":
            self.answer(422, {"detail": [{"loc": ["body", "part_id"], "msg": "too long"}]})
        else:
            self.answer(404, {"title": "refused", "status": 404, "detail": f"there is no station {station!r}"})

    def answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        return


@contextmanager
def served(pid: int) -> Iterator[ThreadingHTTPServer]:
    handler = type("Answers", (Answers,), {"pid": pid, "asked": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def adline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a plant's proxy must not be asked for our own line
    return Command(tmp_path, monkeypatch, capsys)


@contextmanager
def line_of_ours(folder: Path) -> Iterator[ThreadingHTTPServer]:
    home = folder / ".adline"
    with line_lock(home, "start"), served(os.getpid()) as server, announced(home, server.socket, TOKEN):
        yield server


def test_the_line_is_found_where_it_said_it_answers(adline: Command) -> None:
    with line_of_ours(adline.folder) as server:
        shown = running_line(load_settings(None, {}))
        assert shown and shown.url == f"http://127.0.0.1:{server.server_port}"
        assert shown.status()["pid"] == os.getpid()
    assert running_line(load_settings(None, {})) is None


def test_an_address_of_a_dead_process_does_not_count(adline: Command) -> None:
    home = adline.folder / ".adline"
    with line_lock(home, "start"):
        (home / "run" / "web.json").write_text('{"pid": 1, "host": "127.0.0.1", "port": 1}')
        holder = line_holder(home)
        assert holder and announced_address(home, holder) is None
        (home / "run" / "web.json").write_text("torn")
        assert announced_address(home, holder) is None


def test_another_line_on_the_port_is_not_taken_for_ours(adline: Command) -> None:
    home = adline.folder / ".adline"
    with line_lock(home, "start"), served(pid=1) as server, announced(home, server.socket, TOKEN):
        line = require_line(load_settings(None, {}))
        with pytest.raises(LineSilent, match="answered by process 1, not by the line of this folder"):
            line.status()
        with pytest.raises(LineSilent):
            line.trigger("press", {})
        assert adline("trigger", "press") == 1


def test_a_line_that_does_not_answer_yet_is_told_as_such(adline: Command) -> None:
    home = adline.folder / ".adline"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with line_lock(home, "start"), announced(home, taken, TOKEN):
            assert adline("status") == 1
            assert f"process {os.getpid()} holds the folder" in adline.err and "is starting or stopping" in adline.err


def test_a_part_is_triggered_and_its_verdict_awaited(adline: Command) -> None:
    with line_of_ours(adline.folder):
        told = adline.json("trigger", "press", "--part", "P-1", "--product", "bracket", "--lot", "L-1")
        assert told["trigger_number"] == 7 and (told["part_id"], told["lot"]) == ("P-1", "L-1")
        assert adline("trigger", "press", "--wait", "30") == 0
        assert adline.out == "NG 0.900: score 0.9 (inspection i-1)\n"


def test_a_verdict_that_does_not_come_in_time_is_exit_code_1(adline: Command) -> None:
    with line_of_ours(adline.folder):
        assert adline("trigger", "press", "--wait", "0") == 1
        assert adline.err == "adline: inspection i-1: no verdict on record after 0 s\n"


def test_what_the_line_refuses_is_told_in_its_words(adline: Command) -> None:
    with line_of_ours(adline.folder):
        assert adline("trigger", "pres") == 1
        assert adline.err == "adline: there is no station 'pres'\n"
        with pytest.raises(LineRefused, match=r"body\.part_id: too long"):
            require_line(load_settings(None, {})).trigger("odd", {})


def test_no_line_no_answer(adline: Command) -> None:
    with pytest.raises(LineNotRunning):
        require_line(load_settings(None, {}))


def test_a_line_that_listens_everywhere_is_asked_on_this_machine() -> None:
    assert url_of("0.0.0.0", 8000) == "http://127.0.0.1:8000"
    assert url_of("::", 8000) == "http://[::1]:8000"
    assert url_of("plant-pc", 80) == "http://plant-pc:80"


@pytest.fixture
def holder(adline: Command) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(adline.folder / ".adline")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_stop_returns_when_the_line_is_gone(adline: Command, holder: subprocess.Popen[str]) -> None:
    assert adline("stop") == 0
    assert adline.out.splitlines() == [
        f"process {holder.pid} (`adline start`) is asked to stop",
        "the line has stopped",
    ]
    assert holder.wait() == 0
    assert line_holder(adline.folder / ".adline") is None
    assert adline("stop") == 0
    assert "no line runs in" in adline.out


def test_a_line_that_does_not_stop_is_told(adline: Command, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    assert adline("stop", "--wait", "0.2") == 1
    assert f"process {holder.pid} was asked to stop 0.2 s ago and is still there" in adline.err
    os.kill(holder.pid, signal.SIGCONT)


def test_stop_ends_what_a_killed_run_left_behind(adline: Command) -> None:
    home = adline.folder / ".adline"
    killed = """
        import os, signal, subprocess, sys
        from pathlib import Path
        import psutil
        from orchestrator.leftovers import record
        from orchestrator.services import services
        home = Path(sys.argv[1])
        with services(home, database=False):
            child = subprocess.Popen(["sleep", "600"])
            record(home, psutil.Process(child.pid), "worker")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(killed), str(home)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert adline("stop") == 0
    assert adline.out.splitlines()[-1] == "left behind by a killed run and ended: worker, valkey"
    assert adline("stop") == 0
    assert "left behind" not in adline.out

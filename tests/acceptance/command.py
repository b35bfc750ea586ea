"""The `adline` command as an operator runs it: a process in a folder, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 200.0
"""Long enough for a busy machine; no test says how fast something must be."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


class Adline:
    """One run of the command; whatever it leaves behind is ended with the block."""

    def __init__(self, folder: Path, *arguments: str, environ: Mapping[str, str] | None = None, port: int = 0) -> None:
        self.folder, self.arguments = folder, arguments
        self.environ = surroundings() | dict(environ or {})
        self.port = port or free_port()
        self.seen: set[psutil.Process] = set()
        self.listening: set[tuple[str, str]] = set()

    def __enter__(self) -> Adline:
        self.out, self.err = self.folder / "stdout.txt", self.folder / "stderr.txt"
        words = [*self.arguments, "--port", str(self.port)] if self.arguments[0] == "start" else self.arguments
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *words],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.look()
        end([self.process.pid, *(process.pid for process in self.left())])
        self.process.wait()

    def look(self) -> None:
        """Remember the processes of the line and where they listen."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        for process in self.seen:
            with contextlib.suppress(psutil.Error):
                self.listening |= {(process.name(), address) for address in bound(process)}
        with contextlib.suppress(psutil.Error):
            self.listening |= {("line", address) for address in bound(psutil.Process(self.process.pid))}

    def left(self) -> list[psutil.Process]:
        """What of the line is still running."""
        return [process for process in self.seen if is_alive(process)]

    def finish(self, patience_seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end; the exit code."""
        deadline = time.monotonic() + patience_seconds
        while self.process.poll() is None:
            self.look()
            assert time.monotonic() < deadline, f"{self.arguments} does not end: {self.said()}"
            time.sleep(0.2)
        return self.process.returncode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.look()
        self.process.send_signal(number)
        return self.finish()

    def said(self) -> str:
        return self.out.read_text() + self.err.read_text()

    def answer(self) -> dict[str, Any]:
        """The JSON object that was printed; nothing else may have been."""
        found: dict[str, Any] = json.loads(self.out.read_text())
        return found

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self.arguments} ended early: {self.said()}"
        try:
            return self.get("/readyz")[0] == 200
        except (ConnectionError, urllib.error.URLError, TimeoutError):
            return False

    def wait_ready(self) -> Adline:
        wait_until(self.is_ready, f"the line in {self.folder} is ready")
        self.look()
        return self

    def get(self, path: str) -> tuple[int, str]:
        return self.ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}{path}"
        return self.ask(urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST"))

    def ask(self, request: urllib.request.Request) -> tuple[int, str]:
        request.add_header("Authorization", f"Bearer {self.token()}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def token(self) -> str:
        """What whoever may read the state folder shows the line; nothing while the line is starting."""
        file = Path(self.environ.get("ADLINE_HOME", self.folder / ".adline")) / "run" / "web.json"
        with contextlib.suppress(FileNotFoundError):
            return str(json.loads(file.read_text())["token"])
        return ""

    def parts(self) -> list[dict[str, Any]]:
        """The newest inspections, as the API tells them."""
        status, body = self.get("/api/v1/parts?limit=1000")
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)
        return found

    def part(self, part_id: str) -> dict[str, Any]:
        """Wait for the part's one verdict."""
        wait_until(lambda: bool(verdicts(self.get(f"/api/v1/parts/{part_id}"))), f"part {part_id} has a verdict")
        (found,) = verdicts(self.get(f"/api/v1/parts/{part_id}"))
        return found


def verdicts(answered: tuple[int, str]) -> list[dict[str, Any]]:
    status, body = answered
    return [row for row in json.loads(body) if row["verdict"]] if status == 200 else []


def run(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run the command to its end: exit code, and all it printed."""
    with Adline(folder, *arguments, environ=environ) as adline:
        return adline.finish(), adline.said()


def surroundings() -> dict[str, str]:
    """The environment, without settings of whoever runs the tests; Ray's workers find the code by PYTHONPATH too."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADLINE_", "RAY_"))}
    kept = {name: value for name, value in kept.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return kept | {"PYTHONPATH": str(ROOT)}


def bound(process: psutil.Process) -> set[str]:
    """Addresses the process waits for others on: TCP that listens, and UDP."""
    return {
        one.laddr.ip
        for one in process.net_connections(kind="inet")
        if one.laddr and one.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    }


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()

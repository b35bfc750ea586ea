"""The line that runs in a folder, seen from another process: found, asked, stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from orchestrator.configuration import Loaded
from orchestrator.folders import private_folder
from orchestrator.leftovers import sweep
from orchestrator.lock import line_holder, line_lock
from orchestrator.postgres import EmbeddedPostgres
from orchestrator.processes import ProcessMark
from orchestrator.services import services
from orchestrator.valkey import EmbeddedValkey
from storage.errors import LineNotRunning, LineRefused, LineSilent, LineStuck

ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.05
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""A line that listens on every address is asked on this machine's own."""

# No proxy: a plant's HTTP_PROXY does not lead to this machine.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class RunningLine:
    """Where the line that holds the folder answers."""

    holder: ProcessMark
    url: str
    token: str = field(repr=False)
    """What the line knows `adline` by: it is where only the owner of the state folder reads it."""

    def status(self) -> dict[str, Any]:
        """What the line says of itself; LineSilent when nobody, or another line, answers."""
        found: dict[str, Any] = self.get("/api/v1/status")
        if found.get("pid") != self.holder.pid:
            raise LineSilent(
                f"{self.url} is answered by process {found.get('pid')}, not by the line of this folder "
                f"(process {self.holder.pid}): server.port differs from the one it was started with"
            )
        return found

    def trigger(self, station: str, part: dict[str, str | None]) -> dict[str, Any]:
        """Tell that a part is in place; the trigger as the line took it."""
        self.status()  # a part is never sent to somebody else's line
        taken: dict[str, Any] = self.ask("POST", f"/api/v1/stations/{quote(station, safe='')}/trigger", part)
        return taken

    def verdict(self, inspection_id: str, wait_seconds: float) -> list[dict[str, Any]] | None:
        """The inspection's views once it has a verdict; None when it has none in time."""
        until = time.monotonic() + wait_seconds
        while True:
            if (views := self.completed(inspection_id)) or time.monotonic() > until:
                return views
            time.sleep(POLL_SECONDS)

    def completed(self, inspection_id: str) -> list[dict[str, Any]] | None:
        try:
            views: list[dict[str, Any]] = self.get(f"/api/v1/parts/{inspection_id}")
        except LineRefused:
            return None  # not on record yet
        return views if views[0]["verdict"] else None

    def get(self, path: str) -> Any:
        return self.ask("GET", path, None)

    def ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        try:
            with direct.open(request, timeout=ANSWER_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise LineRefused(refusal(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise LineSilent(
                f"process {self.holder.pid} holds the folder, and {self.url} does not answer ({reason}): "
                "the line is starting or stopping, or another address was given to `adline start`"
            ) from error


def refusal(error: urllib.error.HTTPError) -> str:
    """The detail of the problem the line told, whoever made its JSON."""
    try:
        detail = json.load(error)["detail"]
    except (ValueError, KeyError, TypeError):
        return f"{error.url}: {error.code} {error.reason}"
    if isinstance(detail, list):  # FastAPI's list of what is wrong with the request
        return "; ".join(f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg')}" for one in detail)
    return str(detail)


def running_line(loaded: Loaded) -> RunningLine | None:
    """The line that runs this configuration's folder now."""
    holder = line_holder(loaded.home)
    if holder is None:
        return None
    server = loaded.settings.server
    host, port, token = announced_address(loaded.home, holder) or (server.host, server.port, "")
    return RunningLine(holder, url_of(host, port), token)


def require_line(loaded: Loaded) -> RunningLine:
    if found := running_line(loaded):
        return found
    raise LineNotRunning(loaded.home)


def url_of(host: str, port: int) -> str:
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# Where it listens may have been said on the command line of `adline start`, so the line writes it down.


@contextmanager
def announced(home: Path, listening: socket.socket, token: str) -> Iterator[None]:
    """Write down where this process answers, and to which token, for as long as the block runs."""
    file = address_file(home)
    private_folder(file.parent)
    host, port = listening.getsockname()[:2]
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({"pid": os.getpid(), "host": host, "port": port, "token": token}))
    draft.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def announced_address(home: Path, holder: ProcessMark) -> tuple[str, int, str] | None:
    """Where the holder of the folder said it answers, and to which token; a dead process' word does not count."""
    try:
        row = json.loads(address_file(home).read_text())
        return (str(row["host"]), int(row["port"]), str(row["token"])) if int(row["pid"]) == holder.pid else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def address_file(home: Path) -> Path:
    return home / "run" / "web.json"


# Stopping


def stop_line(home: Path, wait_seconds: float, say: Callable[[str], None]) -> bool:
    """Ask the process that holds the folder to end, and return when it has; False when there is none."""
    holder = line_holder(home)
    process = holder.process() if holder else None
    if holder is None or process is None:
        return False
    say(f"process {holder.pid} (`adline {holder.what}`) is asked to stop")
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)  # psutil compares the start time, so a reused number is never hit
    until = time.monotonic() + wait_seconds
    # A process whose first thread has ended looks dead while the others still hold the folder.
    while holder.process() is not None or line_holder(home) == holder:
        if time.monotonic() > until:
            raise LineStuck(holder.pid, wait_seconds)
        time.sleep(POLL_SECONDS)
    return True


def end_leftovers(home: Path) -> list[str]:
    """End what a killed run left behind, its servers included unless another command uses them; what that was."""
    if line_holder(home) or not (home / "run").exists():
        return []
    with line_lock(home, "stop"):
        ended = sorted({mark.what for mark in sweep(home)})
        postgres, valkey = EmbeddedPostgres(home).is_alive(), EmbeddedValkey(home).is_alive()
        if postgres or valkey:
            with services(home, database=postgres, stream=valkey) as used:
                ended += [service.name for service in used.all]
    return ended

"""Serves the operator's pages on a unix socket; the line's web port is the only way there."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from workers.consumer import Status

if TYPE_CHECKING:
    from fastapi import FastAPI

BEAT_SECONDS = 0.2
BACKLOG = 128


class PagesWorker:
    """A web server for people's browsers. What it is killed in the middle of, no decision depends on."""

    def __init__(self, *, socket_path: Path, database_url: str, line: str) -> None:
        self.socket_path, self.database_url, self.line = socket_path, database_url, line
        self.status = Status()

    def run(self, stop: threading.Event) -> None:
        self.status.set("loading", "importing NiceGUI")
        from workers.labeling.web.site import site  # NiceGUI takes seconds to import: only where it is used

        with listening(self.socket_path) as bound:
            asyncio.run(self.serve(site(self.database_url, self.line), bound, stop))
        self.status.set("stopped")

    async def serve(self, app: FastAPI, bound: socket.socket, stop: threading.Event) -> None:
        """Beats in the loop that answers: a page that blocks it is found out."""
        import uvicorn

        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[bound]))
        while not serving.done():
            self.status.set("running" if server.started else "loading")
            server.should_exit = server.should_exit or stop.is_set()
            await asyncio.wait([serving], timeout=BEAT_SECONDS)
        serving.result()


def listening(path: Path) -> socket.socket:
    """The socket, for its owner alone; one that a killed worker left behind makes room."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    path.chmod(0o600)
    bound.listen(BACKLOG)
    return bound

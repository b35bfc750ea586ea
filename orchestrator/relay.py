"""The way to the operator's pages: hands what is asked of the web port on to the worker that serves them.

The pages' worker listens on a unix socket in a private folder and nowhere else, so nobody gets to it but through here,
and it may believe who this says is asking. When it is away, its pages say so and come back by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from orchestrator.folders import pages_socket
from orchestrator.person import Level, NeedsPerson, Person, asking

logger = logging.getLogger(__name__)

PATHS: Final = (
    *("/", "/favicon.ico", "/queue", "/line", "/models", "/part/{name:path}", "/pages/{file:path}"),
    *("/_nicegui/{file:path}", "/_nicegui_ws/{rest:path}"),
)
LEVELS: Final[dict[str, Level]] = {"/models": "engineer"}
"""For whom a page is; every other one is for whoever has signed in."""
PUBLIC_PREFIXES: Final = ("/_nicegui/", "/pages/", "/favicon.ico")
"""What is the same for everybody and in every wheel: libraries, styles, our scripts."""
PERSON_HEADER: Final = "x-adline-person"
# Of one connection, not of what is sent over it (RFC 9110, 7.6.1); and what only this may say.
KEPT_BACK: Final = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", PERSON_HEADER)
)
ADDED: Final = ("accept", "accept-encoding", "content-type", "user-agent")
"""What aiohttp would say of its own accord."""
CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 30.0
STILL_SIGNED_IN_SECONDS: Final = 30.0
GONE: Final = (asyncio.CancelledError, WebSocketDisconnect, aiohttp.ClientError, ConnectionError, RuntimeError)
"""How the one way ends when the other has."""
AWAY: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>adline</title><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
</head><body style="font: 1.5rem system-ui; text-align: center; padding-top: 30vh">
<p>The pages are starting. &nbsp; 페이지를 시작하는 중입니다.</p></body></html>"""


def add_pages(app: FastAPI, home: Path) -> None:
    """The pages' paths lead to the worker that serves the pages of the line in this state folder."""
    for path in PATHS:
        relay = Relay(partial(pages_socket, home), path, LEVELS.get(path, "signed-in"))
        app.router.routes.append(Route(path, relay, methods=["GET", "POST"], include_in_schema=False))
        app.router.routes.append(WebSocketRoute(path, relay))


@dataclass(frozen=True)
class Relay:
    """An ASGI application: everything it is asked, the pages' worker answers."""

    socket: Callable[[], Path]
    path: str
    level: Level

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.websocket(WebSocket(scope, receive, send))
            return
        request = Request(scope, receive)
        is_public = scope["path"].startswith(PUBLIC_PREFIXES)
        who = None if is_public else await run_in_threadpool(NeedsPerson(self.level).admit, request, self.path)
        try:
            await self.http(request, who, scope, receive, send)
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            logger.info("%s: the pages are away: %s", request.url.path, error)
            await away()(scope, receive, send)

    def session(self) -> aiohttp.ClientSession:
        # One for each request: connecting to a unix socket costs nothing, and nothing is left to be closed.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
        connector = aiohttp.UnixConnector(str(self.socket()))
        return aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    async def http(self, request: Request, who: Person | None, scope: Scope, receive: Receive, send: Send) -> None:
        async with (
            self.session() as session,
            session.request(
                request.method,
                inner_url(request),
                headers=inner_headers(request, who),
                skip_auto_headers=ADDED,
                data=request.stream() if has_body(request) else None,
                allow_redirects=False,
            ) as answer,
        ):
            response = StreamingResponse(answer.content.iter_any(), answer.status)
            response.raw_headers = [
                (name.lower(), value) for name, value in answer.raw_headers if name.decode().lower() not in KEPT_BACK
            ]
            await response(scope, receive, send)

    async def websocket(self, outer: WebSocket) -> None:
        who = await run_in_threadpool(asking, outer)
        if who is None:
            await outer.close(1008)
            return
        protocols = outer.scope.get("subprotocols") or ()
        try:
            async with (
                self.session() as session,
                session.ws_connect(
                    inner_url(outer), headers=inner_headers(outer, who), protocols=protocols, max_msg_size=0
                ) as inner,
            ):
                await outer.accept(inner.protocol)
                await first_to_end(inbound(outer, inner), outbound(inner, outer), until_signed_out(outer, who))
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.info("%s: the pages are away: %s", outer.url.path, error)
        await close(outer)


def inner_url(connection: HTTPConnection) -> str:
    query = connection.scope["query_string"].decode("latin-1")
    path = connection.scope["raw_path"].decode("latin-1")
    return f"http://pages{path}?{query}" if query else f"http://pages{path}"


def inner_headers(connection: HTTPConnection, who: Person | None) -> list[tuple[str, str]]:
    dropped = KEPT_BACK | {name for name, _ in connection.headers.items() if name.startswith("sec-websocket-")}
    headers = [(name, value) for name, value in connection.headers.items() if name not in dropped]
    headers.append(("host", connection.headers.get("host", "")))
    if who is not None:
        headers.append((PERSON_HEADER, json.dumps({"name": who.name, "role": who.role, "way": who.way})))
    return headers


def has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def away() -> Response:
    return HTMLResponse(AWAY, 503, {"Retry-After": "1", "Cache-Control": "no-store"})


async def inbound(outer: WebSocket, inner: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        message = await outer.receive()
        if message["type"] == "websocket.disconnect":
            return
        if (text := message.get("text")) is not None:
            await inner.send_str(text)
        else:
            await inner.send_bytes(message["bytes"])


async def outbound(inner: aiohttp.ClientWebSocketResponse, outer: WebSocket) -> None:
    async for message in inner:
        if message.type is aiohttp.WSMsgType.TEXT:
            await outer.send_text(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await outer.send_bytes(message.data)


async def until_signed_out(outer: WebSocket, who: Person) -> None:
    """A connection may last longer than the session it was opened in."""
    while True:
        await asyncio.sleep(STILL_SIGNED_IN_SECONDS)
        if await run_in_threadpool(outer.state.doorkeeper.person, outer) != who:
            return


async def first_to_end(*running: Coroutine[None, None, None]) -> None:
    """Both ways are open, or none is."""
    tasks = [asyncio.ensure_future(one) for one in running]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(ended, GONE):
            raise ended


async def close(outer: WebSocket) -> None:
    """Tell the browser, if it is still there; it tries again."""
    if WebSocketState.DISCONNECTED not in (outer.client_state, outer.application_state):
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await outer.close(1012)

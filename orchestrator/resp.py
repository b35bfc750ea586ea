"""The few words of the Redis protocol a probe needs (the `redis` client belongs to storage.stream)."""

from __future__ import annotations

import socket
import ssl
from typing import BinaryIO
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

PROBE_SECONDS = 2.0


class RespError(Exception):
    """The server answered with an error."""


def ask(url: str, *commands: tuple[str, ...], timeout_seconds: float = PROBE_SECONDS) -> list[str]:
    """Sign in as the URL says, send each command, return the answers; raise OSError or RespError."""
    parts = urlsplit(url)
    with _connect(parts, timeout_seconds) as connection, connection.makefile("rb") as answers:
        signed_in = _sign_in(parts)
        for command in (*signed_in, *commands):
            connection.sendall(_encode(command))
        return [_read(answers) for _ in (*signed_in, *commands)][len(signed_in) :]


def _connect(parts: SplitResult, timeout_seconds: float) -> socket.socket:
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(unquote(parts.path))
        except OSError:
            connection.close()
            raise
        return connection
    host = parts.hostname or "localhost"
    connection = socket.create_connection((host, parts.port or 6379), timeout_seconds)
    return _encrypted(connection, parts, host) if parts.scheme == "rediss" else connection


def _encrypted(connection: socket.socket, parts: SplitResult, host: str) -> socket.socket:
    options = parse_qs(parts.query)
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs", [None])[0])
    if options.get("ssl_cert_reqs") == ["none"]:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=host)


def _sign_in(parts: SplitResult) -> tuple[tuple[str, ...], ...]:
    options = parse_qs(parts.query)
    password = unquote(parts.password or "") or options.get("password", [""])[0]
    user = unquote(parts.username or "") or options.get("username", [""])[0]
    return (("AUTH", user, password) if user else ("AUTH", password),) if password else ()


def _encode(command: tuple[str, ...]) -> bytes:
    words = [word.encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _read(answers: BinaryIO) -> str:
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the connection was closed")
    kind, text = line[:1], line[1:-2].decode(errors="replace")
    if kind == b"-":
        raise RespError(text)
    if kind == b"$":
        return answers.read(int(text) + 2)[:-2].decode(errors="replace")
    return text

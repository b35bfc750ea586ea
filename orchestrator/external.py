"""Services given by URL: reached and checked, never started or stopped."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg2
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.resp import RespError, ask
from storage.errors import DatabaseUnavailable, StreamUnavailable

CONNECT_SECONDS = 5
OLDEST_POSTGRES = 14
OLDEST_REDIS = (6, 2)
POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg2")
REDIS_SCHEMES = ("redis", "rediss", "unix")


def masked(url: str) -> str:
    """The URL without its password, for people."""
    # To the last @: a password that was not percent-encoded may hold any character.
    hidden = re.sub(r"(://[^:/@]*:).*(?=@)", r"\1***", url)
    return re.sub(r"(?<=[?&]password=)[^&]*", "***", hidden)


class ExternalPostgres:
    """A Postgres that somebody else looks after."""

    name = "postgres"
    restartable = False

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)

    def url(self) -> str:
        """For SQLAlchemy, naming the driver: its default is another one."""
        return self._url.render_as_string(hide_password=False)

    def auditor_url(self) -> str:
        """The same: only its administrator knows more passwords."""
        return self.url()

    def start(self) -> None:
        """Reach it and check what it is."""
        if trouble := self.trouble():
            raise DatabaseUnavailable(trouble)

    def stop(self) -> None:
        """It is not ours to stop."""

    def is_alive(self) -> bool:
        """Its process is not ours to see; `trouble` tells."""
        return True

    def trouble(self) -> str | None:
        shown = masked(self.url())
        try:
            number, encoding = self._facts()
        except psycopg2.Error as error:
            return f"{shown}: {str(error).strip()}"
        if number < OLDEST_POSTGRES * 10_000:
            return f"{shown}: is Postgres {number // 10_000}; allowed is {OLDEST_POSTGRES} or newer"
        return None if encoding == "UTF8" else f"{shown}: the database's encoding is {encoding}; allowed is UTF8"

    def _facts(self) -> tuple[int, str | None]:
        address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg2.connect(address, connect_timeout=CONNECT_SECONDS)) as connection:
            return connection.server_version, connection.get_parameter_status("server_encoding")


class ExternalRedis:
    """A Redis or Valkey that somebody else looks after."""

    name = "redis"
    restartable = False

    def __init__(self, url: str) -> None:
        if url.split("://")[0] not in REDIS_SCHEMES:
            raise StreamUnavailable(f"{masked(url)}: allowed are {', '.join(f'{s}://' for s in REDIS_SCHEMES)}")
        self.url = url

    def start(self) -> None:
        """Reach it and check what it is."""
        if trouble := self.trouble():
            raise StreamUnavailable(trouble)

    def stop(self) -> None:
        """It is not ours to stop."""

    def is_alive(self) -> bool:
        """Its process is not ours to see; `trouble` tells."""
        return True

    def trouble(self) -> str | None:
        try:
            (answer,) = ask(self.url, ("INFO", "server"), timeout_seconds=CONNECT_SECONDS)
        except ValueError:  # its text may quote the password
            return f"{masked(self.url)}: is not a URL; a password's special characters must be percent-encoded"
        except (OSError, RespError) as error:
            return f"{masked(self.url)}: {error}"
        found = re.search(r"^redis_version:(\d+)\.(\d+)", answer, re.MULTILINE)
        if not found:
            return f"{masked(self.url)}: is not a Redis server"
        given = int(found[1]), int(found[2])
        oldest = ".".join(map(str, OLDEST_REDIS))
        return (
            None
            if given >= OLDEST_REDIS
            else f"{masked(self.url)}: is Redis {found[1]}.{found[2]}; allowed is {oldest} or newer"
        )


def _parsed(url: str) -> URL:
    allowed = ", ".join(f"{scheme}://" for scheme in POSTGRES_SCHEMES)
    if url.split("://")[0] not in POSTGRES_SCHEMES:
        raise DatabaseUnavailable(f"{masked(url)}: allowed are {allowed}")
    try:
        return make_url("postgresql+psycopg2://" + url.split("://", 1)[1])
    except (ArgumentError, ValueError) as error:
        raise DatabaseUnavailable(f"{masked(url)}: is not a database URL; allowed are {allowed}") from error

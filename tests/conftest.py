"""Real servers for the tests: one Postgres and one Valkey for each pytest worker, started when first asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from orchestrator.postgres import OWNER, SUPERUSER, EmbeddedPostgres
from orchestrator.resp import ask
from orchestrator.valkey import EmbeddedValkey
from storage.database import Database
from storage.stream import EventLog
from tests import facts
from tests.command import Command
from tests.facts import Plant

TEMPLATE = "adline_template"


def migrate_template(url: str) -> None:
    """Bring the template database to the newest schema, as `adline db migrate` does."""
    if importlib.util.find_spec("storage.database"):
        importlib.import_module("storage.database").migrate(url)


def execute(url: str, *statements: str) -> None:
    """Statements that no transaction may surround."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(address)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@pytest.fixture(scope="session")
def servers_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def postgres_server(servers_home: Path) -> Iterator[EmbeddedPostgres]:
    """A running Postgres of this test worker."""
    server = EmbeddedPostgres(servers_home, durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(servers_home: Path) -> Iterator[EmbeddedValkey]:
    """A running Valkey of this test worker."""
    server = EmbeddedValkey(servers_home, durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres) -> str:
    """The name of a migrated, empty database to clone."""
    administrator = postgres_server.url("postgres", SUPERUSER)
    execute(administrator, f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}")
    migrate_template(postgres_server.url(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def database_numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture
def database_url(
    postgres_server: EmbeddedPostgres, template_database: str, database_numbers: Iterator[int]
) -> Iterator[str]:
    """A migrated, empty database for one test."""
    name = f"adline_test_{next(database_numbers)}"
    administrator = postgres_server.url("postgres", SUPERUSER)
    execute(administrator, f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template_database}")
    yield postgres_server.url(name)
    execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def stream_url(valkey_server: EmbeddedValkey) -> str:
    """An empty Valkey for one test."""
    ask(valkey_server.url, ("FLUSHALL",))
    return valkey_server.url


@pytest.fixture
def log(stream_url: str) -> Iterator[EventLog]:
    log = EventLog(stream_url)
    yield log
    log.close()


@pytest.fixture
def adline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`adline` in a folder of its own."""
    return Command(tmp_path, monkeypatch, capsys)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def plant(database: Database) -> Plant:
    """A run, a station, a recipe and its model are on record."""
    return facts.plant(database)

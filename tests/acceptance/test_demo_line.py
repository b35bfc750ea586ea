"""The contract of `adline start` in an empty folder."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.services import services
from tests.acceptance.command import ROOT, Adline, run
from tests.acceptance.plant import query

pytestmark = pytest.mark.usefixtures("alone")

PARTS = 40
BESIDE = Path(__file__).parent / "beside"
KEYS = {"parts", "verdicts", "lost", "duplicated", "parts_per_second", "latency_ms", "model_version"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def ended(folder: Path, alone: None) -> Iterator[Adline]:
    """The demo line after its parts."""
    watched = {"PYTHONPATH": f"{BESIDE}{os.pathsep}{ROOT}", "FOUND_BESIDE": str(folder / "found_beside")}
    with Adline(folder, "start", "--parts", str(PARTS), "--json", environ=watched) as adline:
        adline.finish()
        yield adline


def test_every_part_gets_one_verdict_and_one_json_object_tells_so(ended: Adline) -> None:
    assert ended.process.returncode == 0, ended.said()
    assert ended.err.read_text() == ""
    told = ended.answer()
    assert told.keys() >= KEYS
    assert (told["parts"], told["lost"], told["duplicated"]) == (PARTS, 0, 0)
    assert set(told["verdicts"]) == {"OK", "NG", "REVIEW", "ERROR"}
    assert sum(told["verdicts"].values()) == PARTS and told["verdicts"]["ERROR"] == 0
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p99"]
    assert told["parts_per_second"] > 0


def test_nothing_is_left_running(ended: Adline) -> None:
    assert len(ended.seen) > 5, "Ray, its workers and the services were seen"
    assert ended.left() == []


def test_no_socket_is_open_to_other_machines(ended: Adline) -> None:
    assert "line" in {who for who, _ in ended.listening}
    assert [(who, ip) for who, ip in ended.listening if not is_loopback(ip)] == []


def test_the_environment_gets_no_new_name_beside_threads_that_may_read_it(ended: Adline, folder: Path) -> None:
    """`adline start` was once seen to end with a segmentation fault: libpq read what Ray's start was moving."""
    assert (folder / "found_beside").read_text() == ""


def is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def test_the_next_start_uses_the_model_and_counts_on(ended: Adline, folder: Path) -> None:
    before = ended.answer()["model_version"]
    with Adline(folder, "start", "--parts", "5", "--json") as again:
        assert again.finish() == 0, again.said()
        assert (again.answer()["model_version"], again.answer()["lost"]) == (before, 0)
    with services(folder / ".adline", stream=False) as running:
        numbers = query(running.database_url, "SELECT trigger_number FROM inspections ORDER BY 1")
        models = query(running.database_url, "SELECT id FROM model_versions")
    assert [number for (number,) in numbers] == list(range(1, PARTS + 6))
    assert models == [(before,)]


def test_what_is_stopped_is_told_in_words_too(ended: Adline, folder: Path) -> None:
    code, said = run(folder, "--version")
    assert code == 0 and said.startswith("adline ")

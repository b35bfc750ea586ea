"""A line on a Postgres and a Redis that are given by URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.database import check_schema, downgrade
from tests.acceptance.command import Adline, run
from tests.acceptance.plant import fill, plant, query, station, unseen
from tests.conftest import execute

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def environ(database_url: str, stream_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": stream_url}


def test_an_old_schema_is_migrated_and_the_records_are_in_the_given_database(
    tmp_path: Path, environ: dict[str, str], database_url: str
) -> None:
    downgrade(database_url, "-1")
    fill(tmp_path / "belt", unseen(5))
    plant(tmp_path, station("belt", "belt", {"kind": "interval", "parts_per_minute": 0}, "loop"))
    with Adline(tmp_path, "start", "--parts", "12", "--json", environ=environ) as line:
        assert line.finish() == 0, line.said()
        assert (line.answer()["parts"], line.answer()["lost"], line.left()) == (12, 0, [])
    check_schema(database_url)
    assert query(database_url, "SELECT count(*) FROM verdicts") == [(12,)]
    assert not (tmp_path / ".adline" / "postgres").exists()
    assert not (tmp_path / ".adline" / "valkey").exists()


def test_a_schema_from_a_newer_version_is_left_alone(
    tmp_path: Path, environ: dict[str, str], database_url: str
) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    code, said = run(tmp_path, "start", environ=environ)
    assert code == 1
    assert "revision 9999, newer than this version of adline knows" in said
    assert query(database_url, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_second_line_on_the_same_servers_is_told_who_has_them_and_touches_nothing(
    tmp_path: Path, environ: dict[str, str], database_url: str
) -> None:
    for name in ("one", "two"):
        fill(tmp_path / name / "belt", unseen(5))
        plant(tmp_path / name, station("belt", "belt", {"kind": "software"}, "loop"))
    with Adline(tmp_path / "one", "start", environ=environ) as line:
        line.wait_ready()
        for mine in ({"DATABASE_URL": environ["DATABASE_URL"]}, {"REDIS_URL": environ["REDIS_URL"]}):
            code, said = run(tmp_path / "two", "start", environ=mine)
            assert code == 1
            assert f"another line runs on this {'database' if 'DATABASE_URL' in mine else 'Redis'} (" in said
            assert f"process {line.process.pid}" in said
        runs = query(database_url, "SELECT count(*) FROM line_runs")
    assert runs == [(1,)]

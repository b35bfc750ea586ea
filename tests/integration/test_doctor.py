"""`adline doctor` on real services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.postgres import EmbeddedPostgres
from storage.database import Database, downgrade
from storage.events import Verdict
from tests.command import Command
from tests.conftest import execute
from tests.integration.line_on_record import write_line

QUIET = "[server]\nport = {port}\n[images]\nminimum_free_megabytes = 1\n"


@pytest.fixture
def adline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    (tmp_path / "adline.toml").write_text(QUIET.format(port=free_port()))
    return Command(tmp_path, monkeypatch, capsys)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def states(answer: Any) -> dict[str, str]:
    return {one["check"]: one["state"] for one in answer["checks"]}


def test_a_fresh_folder_is_fine_and_stays_empty(adline: Command) -> None:
    answer = adline.json("doctor")
    assert answer["ok"] is True and "failed" not in states(answer).values()
    assert {"python", "packages", "disk", "web port", "postgres", "redis", "records", "clock"} <= set(states(answer))
    assert [path.name for path in adline.folder.iterdir()] == ["adline.toml"]


def test_given_services_are_reached_and_the_schema_and_models_checked(
    adline: Command, database_url: str, stream_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", stream_url)
    found = states(adline.json("doctor"))
    assert (found["postgres"], found["redis"], found["schema"]) == ("ok", "ok", "ok")
    database = Database(database_url)
    write_line(database, adline.folder / ".adline" / "images", [("P-1", "L-1", Verdict.OK, b"good part")])
    database.close()
    answer = adline.json("doctor", code=1)  # the model is on record, its files are not there
    assert states(answer)["model"] == "failed"
    downgrade(database_url, "base")
    assert states(adline.json("doctor", code=1))["schema"] == "failed"


def test_services_that_do_not_answer_are_named_without_their_password(
    adline: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://adline:geheim@127.0.0.1:{free_port()}/adline")
    monkeypatch.setenv("REDIS_URL", f"redis://:geheim@127.0.0.1:{free_port()}/0")
    assert adline("doctor") == 1
    assert "geheim" not in adline.out + adline.err
    assert adline.out.count("failed") >= 3 and "→ start it, or correct its URL" in adline.out


def test_a_missing_auditor_is_a_warning(adline: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    execute(database_url, "DROP FUNCTION audit_rows(text, bigint)")
    assert states(adline.json("doctor"))["auditor"] == "warning"


def test_the_embedded_database_is_examined_and_stopped_again(adline: Command) -> None:
    assert adline("db", "migrate") == 0
    found = states(adline.json("doctor"))
    assert (found["schema"], found["postgres"]) == ("ok", "ok")
    assert not EmbeddedPostgres(adline.folder / ".adline").is_alive()

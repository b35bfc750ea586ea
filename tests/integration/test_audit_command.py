"""`adline audit`, `status`, `db` and `dlq` on real records, while the line is stopped."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from uuid import UUID

import pytest

from storage.database import Database, downgrade, migrate
from storage.events import Verdict
from storage.image_store import ImageStore
from storage.models import Inspection
from tests.command import Command
from tests.conftest import execute
from tests.integration.line_on_record import MODEL, write_line

GOOD, SCRATCHED, ODD = b"good part", b"scratched part", b"odd part"
PARTS = [
    ("P-1", "L-1", Verdict.OK, GOOD),
    ("P-2", "L-1", Verdict.NG, SCRATCHED),
    ("P-3", "L-2", Verdict.REVIEW, ODD),
    ("P-1", "L-1", Verdict.OK, GOOD),
]


@pytest.fixture
def adline(adline: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("DATABASE_URL", database_url)
    return adline


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / ".adline" / "images"


@pytest.fixture
def inspections(database: Database, images: Path) -> list[UUID]:
    return write_line(database, images, PARTS)


def test_a_part_is_found_by_its_id_with_everything_that_led_to_its_verdict(
    adline: Command, inspections: list[UUID]
) -> None:
    both = adline.json("audit", "part", "P-1")
    assert [row["inspection_id"] for row in both] == [str(inspections[0]), str(inspections[3])]
    assert both[0]["sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert both[0]["model_version"] == MODEL and both[0]["recipe"] == "bracket" and both[0]["verdict"] == "OK"
    assert both[0]["triggered_at"].endswith("+00:00")
    assert both[0]["percentile_of_good"] == 97.5 and both[0]["probabilities"] == {"percentile_of_good": 97.5}
    (one,) = adline.json("audit", "part", str(inspections[1]))
    assert one["part_id"] == "P-2" and one["reason"] == "score judged NG"


def test_people_get_a_table(adline: Command, inspections: list[UUID]) -> None:
    assert adline("audit", "lot", "L-1") == 0
    assert "percentile_of_good" in adline.out.splitlines()[0].split()
    assert adline.out.splitlines()[0].split()[:4] == ["triggered_at", "part_id", "lot", "station"]
    assert len(adline.out.splitlines()) == 1 + 3
    assert "score judged NG" in adline.out


def test_an_image_is_found_by_either_hash_and_by_its_file(
    adline: Command, inspections: list[UUID], tmp_path: Path
) -> None:
    file = tmp_path / "found-on-the-floor.png"
    file.write_bytes(SCRATCHED)
    for name in (hashlib.sha256(SCRATCHED).hexdigest().upper(), hashlib.md5(SCRATCHED).hexdigest(), str(file)):
        assert [row["part_id"] for row in adline.json("audit", "image", name)] == ["P-2"]
    assert adline("audit", "image", "floor.png") == 1
    assert adline.err == "adline: floor.png: neither a SHA-256 (64 hex digits), nor an MD5 (32), nor a file\n"


def test_what_is_not_on_record_is_said_and_is_exit_code_1(adline: Command, inspections: list[UUID]) -> None:
    assert adline("audit", "part", "P-9") == 1
    assert (adline.out, adline.err) == ("", "adline: no part or inspection 'P-9' is on record\n")
    assert adline.json("audit", "lot", "L-9", code=1) == []
    assert adline("audit", "part", str(UUID(int=0))) == 1


def test_csv_has_every_column(adline: Command, inspections: list[UUID]) -> None:
    assert adline("audit", "part", "P-2", "--csv") == 0
    (row,) = csv.DictReader(io.StringIO(adline.out))
    assert row["verdict"] == "NG" and row["ng_threshold"] == "0.6"
    assert adline("audit", "part", "P-2", "--csv", "--json") == 2


def test_free_questions_are_answered_and_cut(adline: Command, inspections: list[UUID]) -> None:
    question = "SELECT verdict, count(*) AS parts FROM v_part_history GROUP BY verdict ORDER BY verdict"
    assert adline.json("audit", "sql", question) == [
        {"verdict": "NG", "parts": 1},
        {"verdict": "OK", "parts": 2},
        {"verdict": "REVIEW", "parts": 1},
    ]
    assert adline("audit", "sql", question, "--csv", "--limit", "2") == 0
    assert adline.out == "verdict,parts\nNG,1\nOK,2\n"
    assert adline.err == "only the first 2 rows are shown; --limit shows more\n"
    assert adline("audit", "sql", "SELECT 1; DELETE FROM verdicts") == 1
    assert "one statement that returns rows is allowed" in adline.err
    assert adline("audit", "sql", "SELECT pg_sleep(9)", "--timeout", "0.1") == 1
    assert adline("audit", "sql", "SELECT 1", "--timeout", "0") == 2


def test_verify_names_each_image_that_was_altered_or_is_missing(
    adline: Command, inspections: list[UUID], images: Path
) -> None:
    assert adline.json("audit", "verify") == {"checked": 3, "faults": []}
    store = ImageStore(images)
    altered = store.path(hashlib.sha256(SCRATCHED).hexdigest())
    altered.write_bytes(b"polished part")
    missing = store.path(hashlib.sha256(ODD).hexdigest())
    missing.unlink()
    assert adline("audit", "verify") == 1
    assert f"frame of inspection {inspections[1]}: {altered}: stored as SHA-256" in adline.out
    assert f"frame of inspection {inspections[2]}: " in adline.out and "is not there" in adline.out
    assert adline.out.splitlines()[-1] == "3 images checked, 2 altered or missing"
    faults = adline.json("audit", "verify", code=1)["faults"]
    assert {one["sha256"] for one in faults} == {altered.stem, missing.stem}


def test_status_of_a_stopped_line_tells_what_is_on_record(adline: Command, inspections: list[UUID]) -> None:
    shown = adline.json("status")
    assert shown["state"] == "stopped" and shown["verdicts"] == {"OK": 2, "NG": 1, "REVIEW": 1, "ERROR": 0}
    assert shown["last_run"]["parts"] == 4 and shown["last_run"]["host"] == "plant-pc"
    assert shown["open_reviews"]["count"] == 1
    assert [model["model_version"] for model in shown["models"]] == [MODEL]
    assert adline("status") == 0
    assert "all runs: 4 parts: 2 OK, 1 NG, 1 REVIEW, 0 ERROR" in adline.out


def test_reading_cannot_change_the_records(adline: Command, database_url: str) -> None:
    from orchestrator.archive import reading
    from orchestrator.configuration import load_settings

    loaded = load_settings(None, {"DATABASE_URL": database_url})
    with pytest.raises(Exception, match="read-only transaction"), reading(loaded) as session:
        session.query(Inspection).with_for_update().all()


def test_an_old_schema_is_told_checked_and_migrated(adline: Command, database_url: str) -> None:
    assert adline("db", "check") == 0
    downgrade(database_url, "0001")
    assert adline("status") == 1
    assert "run `adline db migrate`" in adline.err
    answer = adline.json("db", "check", code=1)
    assert answer["ok"] is False and "is at 0001" in answer["differences"][0]
    assert adline("db", "migrate") == 0
    assert adline.json("db", "check")["ok"] is True


def test_a_schema_that_was_tampered_with_is_found(adline: Command, database_url: str) -> None:
    execute(database_url, "ALTER TABLE verdicts DISABLE TRIGGER append_only")
    assert adline("db", "check") == 1
    assert adline.out == "verdicts: the trigger append_only is missing or disabled; rows could be changed\n"
    migrate(database_url)  # repairs nothing in silence
    assert adline("db", "check") == 1


def test_where_nothing_was_ever_recorded_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adline = Command(tmp_path, monkeypatch, capsys)
    assert adline.json("status") == {"state": "never started", "line": "line-1", "home": str(tmp_path / ".adline")}
    for command in (("audit", "part", "P-1"), ("audit", "sql", "select 1"), ("db", "check"), ("dlq", "list")):
        assert adline(*command) == 1
        assert adline.err.startswith(f"adline: there are no records in {tmp_path / '.adline'}")
    assert adline("stop") == 0
    assert adline.out == f"no line runs in {tmp_path / '.adline'}\n"
    assert adline("trigger", "press") == 1
    assert adline.err == f"adline: no line runs in {tmp_path / '.adline'}; `adline start` starts it\n"
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_database_is_borrowed_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.postgres import EmbeddedPostgres

    adline = Command(tmp_path, monkeypatch, capsys)
    assert adline("db", "migrate") == 0
    assert adline.json("db", "check")["ok"] is True
    assert adline.json("audit", "sql", "SELECT current_user AS who, session_user AS login") == [
        {"who": "adline_auditor", "login": "adline_auditor"}
    ]
    assert adline.json("status")["last_run"] is None
    assert not EmbeddedPostgres(tmp_path / ".adline").is_alive()
    assert not (tmp_path / ".adline" / "valkey").exists()

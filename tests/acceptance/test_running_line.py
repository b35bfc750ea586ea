"""A line with three stations, while it runs: triggers, files, folders, health, and what must not disturb it."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.postgres import EmbeddedPostgres
from storage import records
from storage.database import Database
from storage.models import ModelVersion
from tests.acceptance.command import Adline, run, wait_until
from tests.acceptance.plant import fill, plant, query, station, unseen

pytestmark = pytest.mark.usefixtures("alone")

RECORDED = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant with blanks, ümlauts")
    fill(folder / "tape", unseen(RECORDED))
    fill(folder / "shelf", unseen(3))
    fill(folder / "incoming", [])
    return plant(
        folder,
        station("gate", "incoming", {"kind": "file", "settle_seconds": 1.0}, "watch"),
        station("bench", "shelf", {"kind": "software"}, "loop"),
        station("tape", "tape", {"kind": "interval", "parts_per_minute": 600.0}),
    )


@pytest.fixture(scope="module")
def up(folder: Path, alone: None) -> Iterator[Adline]:
    with Adline(folder, "start", "--json") as adline:
        yield adline.wait_ready()


@pytest.fixture(scope="module")
def database_url(folder: Path) -> str:
    return EmbeddedPostgres(folder / ".adline").url()


def drop(folder: Path, name: str, data: bytes) -> None:
    """As a well-behaved program hands a file over: complete under its final name."""
    draft = folder / f"{name}.part"
    draft.write_bytes(data)
    draft.rename(folder / name)


def test_a_line_that_runs_says_so(up: Adline) -> None:
    assert json.loads(up.get("/healthz")[1]) == {"status": "alive"}
    readiness = json.loads(up.wait_ready().get("/readyz")[1])
    assert readiness["ready"] and readiness["state"] == "running"
    assert {"postgres", "valkey", "disk", "model", "inference-0", "record", "capture-gate"} <= set(readiness["checks"])
    assert json.loads(up.get("/version")[1])["version"]


def test_metrics_are_for_prometheus(up: Adline) -> None:
    status, text = up.get("/metrics")
    assert status == 200
    for name in ("adline_parts_total", "adline_camera_up", "adline_stream_pending", "adline_queue_open"):
        assert f"# TYPE {name.removesuffix('_total')}" in text


def test_a_software_trigger_is_found_again_with_its_part_and_lot(up: Adline) -> None:
    told = up.post("/api/v1/stations/bench/trigger", {"part_id": "SN-0815", "product": "cell", "lot": "L7"})
    assert told[0] == 202
    found = up.part("SN-0815")
    assert (found["inspection_id"], found["station"]) == (json.loads(told[1])["inspection_id"], "bench")
    assert (found["product"], found["lot"]) == ("cell", "L7")
    assert found["verdict"] in ("OK", "REVIEW", "NG")


def test_a_trigger_that_makes_no_sense_is_answered(up: Adline) -> None:
    status, body = up.post("/api/v1/stations/nowhere/trigger", {})
    assert status == 404 and "this line has gate, bench, tape" in body
    assert up.post("/api/v1/stations/bench/trigger", {"serial": "1"})[0] == 422
    assert up.get("/api/v1/parts/never-seen")[0] == 404


def test_a_recording_ends_and_the_line_stays_up(up: Adline) -> None:
    wait_until(lambda: len([1 for part in up.parts() if part["station"] == "tape"]) == RECORDED, "the tape was played")
    time.sleep(1)
    assert sorted(part["trigger_number"] for part in up.parts() if part["station"] == "tape") == [1, 2, 3, 4, 5]
    assert up.is_ready()


def test_a_file_that_arrives_is_a_part(up: Adline, folder: Path) -> None:
    image = unseen(1)[0]
    drop(folder / "incoming", "cell-1.png", image.read_bytes())
    found = up.part("cell-1")
    assert (found["station"], found["trigger_source"]) == ("gate", "file")
    assert found["verdict"] in ("OK", "REVIEW", "NG")


def test_a_file_still_being_written_is_waited_for(up: Adline, folder: Path, database_url: str) -> None:
    data = unseen(2)[1].read_bytes()
    with (folder / "incoming" / "cell-2.png").open("wb", buffering=0) as file:
        for start in range(0, len(data), len(data) // 8):
            file.write(data[start : start + len(data) // 8])
            time.sleep(0.1)
    assert up.part("cell-2")["verdict"] != "ERROR"
    sizes = query(
        database_url, "SELECT size_bytes FROM frames f JOIN inspections i ON f.inspection_id = i.id"
        " WHERE part_id = 'cell-2'"
    )  # fmt: skip
    assert sizes == [(len(data),)]


def test_a_corrupt_image_is_an_error_and_the_line_lives_on(up: Adline, folder: Path) -> None:
    whole = unseen(3)[2].read_bytes()
    drop(folder / "incoming", "torn.png", whole[: len(whole) // 2])
    drop(folder / "incoming", "text.jpg", b"this is no image")
    (folder / "incoming" / "empty.png").touch()
    for name, reason in (("torn", "the image is truncated"), ("text", "not a JPEG, PNG, BMP or TIFF")):
        found = up.part(name)
        assert found["verdict"] == "ERROR"
        assert reason in found["reason"]
    drop(folder / "incoming", "cell-3.png", whole)
    assert up.part("cell-3")["verdict"] != "ERROR"
    assert up.get("/api/v1/parts/empty")[0] == 404, "a file without a byte is not written yet"


def test_a_folder_that_disappears_and_returns_is_watched_again(up: Adline, folder: Path) -> None:
    (folder / "incoming").rename(folder / "unmounted")
    wait_until(lambda: not {"camera gate/top", "trigger gate"} & well(up), "the folder's absence is told")
    readiness = json.loads(up.get("/readyz")[1])
    assert readiness["ready"] and readiness["state"] == "degraded", "other stations go on"
    assert "incoming" in readiness["checks"]["trigger gate"]["detail"]
    assert 'adline_camera_up{camera="top",station="gate"} 0.0' in up.get("/metrics")[1]
    assert "camera gate/top: lost since" in run(folder, "status")[1]
    (folder / "unmounted").rename(folder / "incoming")
    wait_until(lambda: {"camera gate/top", "trigger gate"} <= well(up), "the folder's return is told")
    drop(folder / "incoming", "cell-4.png", unseen(4)[3].read_bytes())
    assert up.part("cell-4")["verdict"] != "ERROR"
    assert len([part for part in up.parts() if part["part_id"] == "cell-1"]) == 1


def well(up: Adline) -> set[str]:
    return {name for name, found in json.loads(up.get("/readyz")[1])["checks"].items() if found["ok"]}


def test_a_second_start_says_who_holds_the_folder(up: Adline, folder: Path, tmp_path: Path) -> None:
    before = up.out, up.err
    code, said = run(folder, "start")
    up.out, up.err = before
    assert code == 1
    assert f"process {up.process.pid} already runs the line" in said
    assert up.is_ready()


def test_an_altered_model_is_not_used_and_the_next_start_names_the_file(
    up: Adline, folder: Path, database_url: str
) -> None:
    champion = up.part("SN-0815")["model_version"]
    models = folder / ".adline" / "models"
    shutil.copytree(models / champion, models / "cells-altered")
    weights = max((models / "cells-altered").iterdir(), key=lambda file: file.stat().st_size)
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    deploy_copy(database_url, champion, "cells-altered")
    log = folder / ".adline" / "logs" / "inference-0.jsonl"
    wait_until(lambda: "the one before stays" in log.read_text(), "the altered model was refused")
    up.post("/api/v1/stations/bench/trigger", {"part_id": "after-the-attack"})
    assert up.part("after-the-attack")["model_version"] == champion
    assert up.stop(signal.SIGTERM) == 0, up.said()
    assert up.answer()["lost"] == 0
    assert up.left() == []
    code, said = run(folder, "start")
    assert code == 1
    assert str(weights.parent) in said and "the model was altered" in said


def deploy_copy(url: str, champion: str, name: str) -> None:
    database = Database(url)
    with database.begin() as session:
        version = session.get_one(ModelVersion, champion)
        facts = {column: getattr(version, column) for column in ModelVersion.__table__.columns.keys()}
        records.register_model(session, ModelVersion(**{**facts, "id": name, "sha256": "0" * 64}))
        records.deploy(session, "cells", name, by="intruder", reason="sabotage")
    database.close()

"""`adline defect`: the defect book, kept by a person at a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from storage.errors import ResolutionRefused
from storage.events import new_id
from storage.resolution import Resolution
from storage.stream import EventLog
from tests.command import Command
from tests.facts import Plant, picture
from tests.integration.served import Served, browser
from tests.integration.test_queue import Desk

FIRST = ["scratch", "contamination", "crack"]


@pytest.fixture
def adline(
    tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    command = Command(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("DATABASE_URL", plant.database.url)
    monkeypatch.setenv("ADLINE_HOME", str(tmp_path))
    return command


@pytest.fixture
def client(plant: Plant, log: EventLog, tmp_path: Path) -> TestClient:
    return browser(Served(plant, log, tmp_path))


def names(adline: Command) -> list[str]:
    return [entry["name"] for entry in adline.json("defect", "list") if not entry["retired"]]


def test_a_class_is_added_with_pictures_that_the_pages_can_show(
    adline: Command, client: TestClient, tmp_path: Path
) -> None:
    (tmp_path / "dent.png").write_bytes(picture(9))
    said = ("--definition", "deeper than 0.2 mm", "--severity", "critical", "--example", "dent.png")
    assert adline("defect", "add", "dent", *said) == 0, adline.err
    assert adline.out == "dent: version 1, critical, 1 pictures\n"
    assert names(adline) == [*FIRST, "dent"]
    (dent,) = [one for one in client.get("/api/v1/defects").json() if one["name"] == "dent"]
    assert (dent["definition"], dent["severity"]) == ("deeper than 0.2 mm", "critical")
    (sha256,) = dent["examples"]
    assert client.get(f"/api/v1/images/{sha256}").content == picture(9)
    assert adline("defect", "list") == 0
    assert "deeper than 0.2 mm" in adline.out


def test_a_changed_class_is_a_new_version_where_what_is_not_said_stays(adline: Command, tmp_path: Path) -> None:
    for shade in (1, 2):
        (tmp_path / f"{shade}.png").write_bytes(picture(shade))
        assert adline("defect", "add", "crack", "--example", f"{shade}.png") == 0, adline.err
    before = next(one for one in adline.json("defect", "list") if one["name"] == "crack")
    assert adline("defect", "add", "crack", "--severity", "minor") == 0
    after = next(one for one in adline.json("defect", "list") if one["name"] == "crack")
    assert (after["version"], after["severity"]) == (before["version"] + 1, "minor")
    assert after["definition"] == before["definition"] and after["examples"] == before["examples"]
    assert len(after["examples"]) == 2


def test_a_retired_class_is_offered_no_longer_until_it_is_added_again(
    adline: Command, plant: Plant, log: EventLog, tmp_path: Path
) -> None:
    desk = Desk(plant, log, tmp_path)
    desk.put()
    held = desk.claim()
    scratched = Resolution.model_validate({"decision": "anomaly", "defects": ["scratch"]})
    assert adline("defect", "retire", "scratch") == 0 and adline("defect", "retire", "scratch") == 0
    assert names(adline) == FIRST[1:]
    with pytest.raises(ResolutionRefused):
        desk.queue.resolve("anna", held.review_id, held.token, scratched)
    assert adline("defect", "add", "scratch") == 0
    assert names(adline) == FIRST
    desk.queue.resolve("anna", held.review_id, held.token, scratched)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("add", "dent"), "a new class needs definition and severity"),
        (("add", "dent", "--definition", "deep"), "a new class needs severity"),
        (("add", "dent\n", "--definition", "deep", "--severity", "minor"), "name: "),
        (("add", "crack", "--example", "no-picture.png"), "not"),
        (("retire", "dent"), "there is no defect class 'dent'"),
    ],
)
def test_what_the_book_cannot_hold_is_refused_and_changes_nothing(
    adline: Command, tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    (tmp_path / "no-picture.png").write_bytes(new_id().bytes)
    before = adline.json("defect", "list")
    assert adline("defect", *words) == 1
    assert why in adline.err
    assert adline.json("defect", "list") == before

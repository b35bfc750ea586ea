"""`adline dataset` on real records, while the line is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.stream import EventLog
from tests.command import Command
from tests.facts import RECIPE, Plant
from tests.integration.test_queue import NORMAL
from tests.integration.test_snapshots import Workshop

SETTINGS = f"""
[[stations]]
name = "press"
recipe = "{RECIPE}"
cameras = [{{ kind = "folder", path = "incoming" }}]
trigger = {{ kind = "interval", parts_per_minute = 60.0 }}

[recipes.{RECIPE}]
"""


@pytest.fixture
def shop(plant: Plant, log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """The records and images that `adline` finds in this test's folder."""
    (tmp_path / "adline.toml").write_text(SETTINGS)
    monkeypatch.setenv("DATABASE_URL", plant.database.url.replace("+psycopg2", ""))
    yield Workshop(plant, log, tmp_path / ".adline" / "images")


@pytest.mark.parametrize("command", ["list", "show NAME", "verify NAME --json", "export NAME out"])
def test_what_follows_snapshot_is_answered_with_the_command_that_is_meant(
    adline: Command, shop: Workshop, command: str
) -> None:
    assert adline("dataset", "snapshot", *command.split()) == 2
    assert f"use `adline dataset {command.removesuffix(' --json')}`" in " ".join(adline.err.replace("│", " ").split())
    assert shop.value("SELECT count(*) FROM dataset_snapshots") == 0


def test_a_snapshot_from_the_first_label_to_the_folder_and_back(
    adline: Command, shop: Workshop, tmp_path: Path
) -> None:
    assert adline("dataset", "snapshot") == 1
    assert adline.err.startswith(f"adline: recipe {RECIPE}: no part has a label that says normal or anomaly")
    shop.label(range(9))
    challenge = adline.json("dataset", "challenge", "add", "P-8", "--reason", "hairline crack")
    assert challenge["part_key"] == "part:P-8"
    assert adline("dataset", "challenge", "add", "P-99", "--reason", "never seen") == 1
    assert "no inspection on record has this part_id or image" in adline.err
    taken = adline.json("dataset", "snapshot", "--description", "first week")
    name = taken["name"]
    assert name.endswith("_V1_first-week") and taken["counts"]["challenge"]["parts"] == 1
    assert [one["name"] for one in adline.json("dataset", "list")] == [name]
    shown = adline.json("dataset", "show", name)
    assert len(shown["items"]) == 9 and {item["decided_by"] for item in shown["items"]} == {"anna"}
    assert adline("dataset", "show", "nothing") == 1
    assert adline.err == "adline: there is no snapshot 'nothing'; `adline dataset list` shows them\n"
    assert adline("dataset", "export", name, "out") == 0 and (tmp_path / "out" / "manifest.json").is_file()
    assert adline("dataset", "import", "out") == 1 and "never changed" in adline.err
    assert adline.json("dataset", "verify", name)["ok"]
    path = shop.store.path(shown["items"][0]["sha256"])
    path.write_bytes(path.read_bytes() + b" ")
    problems = adline.json("dataset", "verify", name, code=1)["problems"]
    assert {problem["file"] for problem in problems} == {str(path)} and len(problems) == 2
    assert adline("dataset", "verify", name) == 1 and "another MD5" in adline.out


def test_an_engineer_releases_what_was_set_aside(adline: Command, shop: Workshop) -> None:
    shop.label(range(4))
    inspection_id = shop.value("SELECT inspection_id FROM labels WHERE decision = 'anomaly'")
    held = shop.queue.claim_this("ben", shop.queue.look_again("eve", inspection_id))  # type: ignore[arg-type]  # a UUID
    shop.queue.resolve("ben", held.review_id, held.token, NORMAL)
    name = adline.json("dataset", "snapshot")["name"]
    (aside,) = adline.json("dataset", "set-aside", "list", name)
    assert (aside["reason"], aside["released_by"]) == ("disagreement", None)
    assert adline("dataset", "set-aside", "release", name, aside["sha256"], "--reason", " ") == 2
    adline.json("dataset", "set-aside", "release", name, aside["sha256"][:12], "--reason", "ben is right")
    (aside,) = adline.json("dataset", "set-aside", "list", name)
    assert aside["release_reason"] == "ben is right" and aside["released_by"].startswith("console:")
    assert adline.json("dataset", "snapshot")["counts"]["set_aside"] == {}
    assert adline("dataset", "list") == 0 and "_V2_" in adline.out


def test_a_snapshot_by_hand_is_taken_by_the_recipe_s_rules_for_training(
    adline: Command, shop: Workshop, tmp_path: Path
) -> None:
    with (tmp_path / "adline.toml").open("a") as file:
        file.write(f"seed = 7\n[recipes.{RECIPE}.retrain]\ntest_share = 0.6\n")
    shop.label(range(40))
    taken = adline.json("dataset", "snapshot")
    assert (taken["seed"], taken["policy"]["test_share"]) == (7, 0.6)
    assert taken["counts"]["test"]["parts"] > 15
    assert adline.json("dataset", "snapshot", "--seed", "3")["seed"] == 3

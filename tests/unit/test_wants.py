"""What the settings reserve, against what machines have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.line import Line, refuse_unmet_wants, wait_loaded
from orchestrator.logs import last_words
from orchestrator.plan import Place
from orchestrator.supervisor import Supervisor, WorkerHealth
from orchestrator.wants import Want, unmet, wants
from storage.errors import ModelError, SettingsError
from storage.events import new_id
from tests.unit.configuration_files import STATION, load

TEXT = """
[inference]
replicas = 2

[stages.inference]
num_gpus = 0.5
resources = { fast = 1 }

[stages.record]
num_cpus = 1
"""


def test_each_setting_that_reserves_is_found(tmp_path: Path) -> None:
    text = TEXT + STATION.replace('recipe = "bracket"', 'recipe = "bracket"\nresources = { press_pc = 1 }', 1)
    assert wants(load(tmp_path, text).settings) == [
        Want("stages.inference.num_gpus", "GPU", 0.5, 2, "inference"),
        Want("stages.inference.resources.fast", "fast", 1, 2, "inference"),
        Want("stages.record.num_cpus", "CPU", 1, 1, "record"),
        Want("stations[press].resources.press_pc", "press_pc", 1),
    ]
    assert wants(load(tmp_path, STATION).settings) == []


def test_what_fits_is_no_problem() -> None:
    wanted = [Want("a", "GPU", 0.5, 2), Want("b", "CPU", 2.0)]
    assert unmet(wanted, [{"CPU": 2.0, "GPU": 1.0}]) == []
    assert unmet(wanted, [{"CPU": 2.0}, {"GPU": 1.0}]) == []
    assert unmet([], []) == []


def test_what_no_machine_has_is_named_with_what_was_given_and_what_there_is() -> None:
    assert unmet([Want("a", "GPU", 1.0)], [{"CPU": 2.0}]) == ["a is 1, and Ray's machine has 0 GPU"]
    two = [{"CPU": 4.0}, {"CPU": 8.0}]
    assert unmet([Want("a", "CPU", 12.0)], two) == ["a is 12, and none of Ray's 2 machines has more than 8 CPU"]


def test_what_is_too_much_together_names_all_who_want_it() -> None:
    assert unmet([Want("a", "CPU", 1.0, 2), Want("b", "CPU", 1.0)], [{"CPU": 2.0}]) == [
        "a is 1 for each of 2 workers; b is 1: more than the 2 CPU there are in all"
    ]


class Cluster(Supervisor):
    """A Ray that has other machines than this one."""

    def __init__(self, *machines: dict[str, float]) -> None:
        self.there = list(machines)

    def machines(self) -> list[dict[str, float]]:
        return self.there


def test_a_cluster_is_started_without_a_stations_machine_and_never_without_inferences(tmp_path: Path) -> None:
    station = STATION.replace('recipe = "bracket"', 'recipe = "bracket"\nresources = { press_pc = 1 }', 1)
    text = '[ray]\naddress = "10.0.0.1:6380"\n[stages.inference]\nnum_gpus = 1\n' + station
    settings, told = load(tmp_path, text).settings, list[str]()
    refuse_unmet_wants(settings, Cluster({"GPU": 1.0, "press_pc": 1.0}), told.append)
    assert told == []
    refuse_unmet_wants(settings, Cluster({"GPU": 1.0}), told.append)
    assert len(told) == 1 and told[0].startswith("stations[press].resources.press_pc is 1, and Ray's machine has 0")
    with pytest.raises(SettingsError, match=r"stages\.inference\.num_gpus is 1"):
        refuse_unmet_wants(settings, Cluster({"press_pc": 1.0}), told.append)


class Dying:
    """A line whose inference worker cannot live, as `wait_loaded` sees it."""

    def __init__(self, home: Path) -> None:
        self.place = Place(home, "", "", new_id(), {})
        self.supervisor, self.restarts, self.mended = self, -1, 0

    def health(self) -> Any:
        self.restarts += 1
        workers = [WorkerHealth("inference-0", "inference", 1, "loading", "weights", restarts=self.restarts)]
        return Healths(workers)

    def mend(self) -> None:
        self.mended += 1


class Healths(list[WorkerHealth]):
    def model_check(self) -> dict[str, Any]:
        return {"ok": False}


def test_the_wait_for_a_model_ends_when_the_worker_dies_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs" / "inference-0.jsonl"
    file.write_text('{"level": "CRITICAL", "message": "the worker died", "traceback": "MemoryError: no room"}\n')
    up = Dying(tmp_path)
    with pytest.raises(ModelError, match=r"inference-0 died [34] times: MemoryError: no room"):
        wait_loaded(cast(Line, up), lambda step: None)
    assert up.mended


def test_a_worker_tells_what_it_died_of(tmp_path: Path) -> None:
    file = tmp_path / "inference-0.jsonl"
    assert last_words(file) == ""
    file.write_text(
        '{"level": "CRITICAL", "message": "the worker died", "traceback": "Traceback\\nImportError: no module"}\n'
        '{"level": "INFO", "message": "starting"}\n{"level": "CRIT'
    )
    assert last_words(file) == "ImportError: no module"

"""The map of the system against the workers themselves: what is planned is what they accept, read and tell."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.pipeline import STAGES, TEACHER, Stage
from orchestrator.plan import Place, tasks, teach_task
from orchestrator.settings import Settings
from orchestrator.supervisor import Task
from storage import events
from storage.events import Event, new_id
from tests.unit.configuration_files import load

TWO_STATIONS = """
[inference]
replicas = 2

[[stations]]
name = "press"
recipe = "bracket"
product = "bracket"
trigger = { kind = "interval" }
cameras = [
    { kind = "folder", name = "top", path = "incoming" },
    { kind = "opencv", name = "side", source = 0, exposure_milliseconds = 2.0 },
]

[[stations]]
name = "weld"
recipe = "seam"
trigger = { kind = "file" }
cameras = [{ kind = "folder", path = "arriving", watch = true }]

[recipes.bracket]
teach = { kind = "folder", path = "good" }

[recipes.seam]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(tmp_path, TWO_STATIONS).settings


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Place:
    ids = {name: number for number, name in enumerate(settings.used_recipes, 1)}
    return Place(tmp_path, "redis://localhost", "postgresql://localhost/x", new_id(), ids)


def worker_class(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def test_every_worker_of_the_map_is_there() -> None:
    assert all(inspect.isclass(worker_class(stage.worker)) for stage in (*STAGES, TEACHER))


def test_every_planned_worker_accepts_what_it_is_given(settings: Settings, place: Place) -> None:
    planned = [*tasks(settings, place), teach_task(settings, place, ["bracket"])]
    names = ["capture-press", "capture-weld", "inference-0", "inference-1", "record", "pages", "retrain", "drift"]
    assert [task.name for task in planned] == [*names, "teach"]
    for task in planned:
        hot = {"hot": None} if task.hot else {}
        inspect.signature(worker_class(task.worker)).bind(**task.arguments, **hot)


def test_what_a_worker_is_given_can_be_sent_to_another_process(settings: Settings, place: Place) -> None:
    for task in tasks(settings, place):
        assert pickle.loads(pickle.dumps(dict(task.arguments))).keys() == task.arguments.keys()


def test_consumers_have_the_group_of_their_stage_and_a_name_of_their_own(settings: Settings, place: Place) -> None:
    planned: list[Task] = tasks(settings, place)
    readers = {stage.name for stage in STAGES if stage.reads}
    assert readers == {"capture", "inference", "record"}
    for task in (one for one in planned if one.stage in readers):
        assert task.arguments["delivery"].group == task.stage
        assert task.arguments["delivery"].consumer == task.name


def test_the_cameras_and_triggers_that_are_planned_can_be_built(settings: Settings, place: Place) -> None:
    from storage.stream import EventLog

    log = EventLog("redis://localhost")
    press, weld = (task for task in tasks(settings, place) if task.stage == "capture")
    assert [camera.name for camera in press.arguments["cameras"]()] == ["top", "side"]
    assert [camera.name for camera in weld.arguments["cameras"]()] == ["camera-1"]
    assert [type(one).__name__ for one in press.arguments["triggers"](log)] == ["IntervalTrigger"]
    assert [type(one).__name__ for one in weld.arguments["triggers"](log)] == ["FileTrigger"]
    log.close()


def test_a_demo_camera_is_told_what_its_recipe_s_models_were_taught_from(settings: Settings, place: Place) -> None:
    hidden = frozenset({"a" * 64})
    place = replace(place, taught_from={settings.stations[0].recipe: hidden})
    press, *_ = (task for task in tasks(settings, place) if task.stage == "capture")
    assert press.arguments["cameras"].args[2] == hidden


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_reads_and_tells_what_its_worker_reads_and_tells(stage: Stage) -> None:
    """By the source: the event classes whose key is read, and those made, in the worker's file or beside it."""
    file = Path(inspect.getfile(worker_class(stage.worker)))
    files = file.parent.glob("*.py") if stage.name == "inference" else [file]
    calls = [node for one in files for node in ast.walk(ast.parse(one.read_text())) if isinstance(node, ast.Call)]
    read = {event for call in calls if named(call.func) == "key" for event in map(event_of, call.args[:1]) if event}
    made = {event for call in calls if (event := event_of(call.func) or event_of(getattr(call.func, "value", None)))}
    assert set(stage.reads) <= read
    assert made <= set(stage.tells)
    assert set(stage.tells) - made <= set(stage.reads), "told again as it was read, or never"


def named(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else ""


def event_of(node: ast.AST | None) -> type[Event] | None:
    found = getattr(events, node.id, None) if isinstance(node, ast.Name) else None
    return found if inspect.isclass(found) and issubclass(found, Event) else None

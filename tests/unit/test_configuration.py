from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.configuration import load_settings
from orchestrator.station import ElpvCamera, FolderCamera, IntervalTrigger, OpenCvCamera
from storage.errors import SettingsError
from tests.unit.configuration_files import STATION, load, problems


def test_without_a_file_the_demo_line_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(None, {})
    (station,) = loaded.settings.stations
    assert loaded.is_demo and loaded.path is None
    assert loaded.home == tmp_path / ".adline"
    assert isinstance(station.cameras[0], ElpvCamera)
    assert isinstance(station.trigger, IntervalTrigger)
    assert loaded.settings.recipes[station.recipe].teach is not None
    assert set(loaded.origin.values()) == {"default"}


def test_the_demo_line_stays_the_demo_line_when_one_of_its_values_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"ADLINE_STATIONS__CELL_TESTER__TRIGGER__PARTS_PER_MINUTE": "0", "ADLINE_RECIPES__ELPV_MONO__SEED": "7"}
    loaded = load_settings(None, environ, {"server.port": 9000})
    trigger = loaded.settings.stations[0].trigger
    assert loaded.is_demo
    assert isinstance(trigger, IntervalTrigger) and trigger.parts_per_minute == 0
    assert loaded.settings.recipes["elpv-mono"].seed == 7
    assert loaded.settings.server.port == 9000


def test_stations_from_the_environment_are_not_the_demo_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stations = '[{"name": "a", "recipe": "elpv-mono", "cameras": [{"kind": "opencv", "source": 0}]}]'
    loaded = load_settings(None, {"ADLINE_STATIONS": stations})
    (camera,) = loaded.settings.stations[0].cameras
    assert not loaded.is_demo
    assert isinstance(camera, OpenCvCamera) and camera.source == "0"
    assert loaded.origin["stations.0.cameras.0.source"] == "environment ADLINE_STATIONS"
    assert loaded.origin["stations.0.cameras.0.name"] == "default"


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    text = "[record]\nbatch_size = 1\nmaximum_deliveries = 1\nsweep_seconds = 1\n"
    environ = {"ADLINE_RECORD__BATCH_SIZE": "2", "ADLINE_RECORD__MAXIMUM_DELIVERIES": "2"}
    loaded = load(tmp_path, text, environ, {"record.batch_size": 3, "record.sweep_seconds": None})
    record = loaded.settings.record
    assert (record.batch_size, record.maximum_deliveries, record.sweep_seconds) == (3, 2, 1)
    assert record.give_up_seconds == 120
    assert loaded.origin["record.batch_size"] == "command line"
    assert loaded.origin["record.maximum_deliveries"] == "environment ADLINE_RECORD__MAXIMUM_DELIVERIES"
    assert loaded.origin["record.sweep_seconds"] == "adline.toml:4"
    assert loaded.origin["record.give_up_seconds"] == "default"


def test_every_value_has_an_origin_and_every_origin_a_value(tmp_path: Path) -> None:
    loaded = load(tmp_path, STATION)
    assert loaded.origin["stations.0.cameras.0.path"] == "adline.toml:8"
    assert loaded.origin["recipes.bracket.image_size"] == "default"
    for path in loaded.origin:
        value: Any = loaded.settings.model_dump(mode="json")
        for segment in path.split("."):
            value = value[int(segment)] if isinstance(value, list) else value[segment]


def test_the_file_is_found_in_the_folder_or_by_variable_or_by_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, port in (("here", 1), ("variable", 2), ("option", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "adline.toml").write_text(f"server.port = {port}\n")
    monkeypatch.chdir(tmp_path / "here")
    environ = {"ADLINE_CONFIG": str(tmp_path / "variable" / "adline.toml")}
    assert load_settings(None, {}).settings.server.port == 1
    assert load_settings(None, environ).settings.server.port == 2
    assert load_settings(None, environ).home == tmp_path / "variable" / ".adline"
    assert load_settings(tmp_path / "option" / "adline.toml", environ).settings.server.port == 3


def test_a_file_that_was_asked_for_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--config: no such file: .*nowhere\.toml"):
        load_settings(tmp_path / "nowhere.toml", {})
    with pytest.raises(SettingsError, match="environment ADLINE_CONFIG: no such file"):
        load_settings(None, {"ADLINE_CONFIG": str(tmp_path / "nowhere.toml")})


def test_the_state_folder_can_be_elsewhere(tmp_path: Path) -> None:
    assert load(tmp_path, "", {"ADLINE_HOME": str(tmp_path / "state")}).home == tmp_path / "state"


def test_paths_are_meant_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (camera,) = load(tmp_path, STATION).settings.stations[0].cameras
    assert isinstance(camera, FolderCamera) and camera.path == tmp_path / "incoming"


def test_the_well_known_urls_are_honoured_below_our_own_variable_and_above_the_file(tmp_path: Path) -> None:
    text = 'database.url = "postgresql://file/a"\nstream.url = "redis://file"\n'
    environ = {"DATABASE_URL": "postgresql://known/a", "REDIS_URL": "redis://known"}
    loaded = load(tmp_path, text, environ)
    assert (loaded.settings.database.url, loaded.settings.stream.url) == ("postgresql://known/a", "redis://known")
    assert loaded.origin["database.url"] == "environment DATABASE_URL"
    loaded = load(tmp_path, text, environ | {"ADLINE_DATABASE__URL": "postgres://own/a", "ADLINE_STREAM__URL": "null"})
    assert (loaded.settings.database.url, loaded.settings.stream.url) == ("postgres://own/a", None)


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    environ = {"ADLINE_SERVER__PORT": "", "DATABASE_URL": "", "ADLINE_HOME": "", "ADLINE_CONFIG": ""}
    loaded = load(tmp_path, "server.port = 5", environ)
    assert loaded.settings.server.port == 5
    assert loaded.home == tmp_path / ".adline"


def test_a_part_of_a_section_beats_the_whole_section_in_the_environment(tmp_path: Path) -> None:
    environ = {"ADLINE_SERVER": '{"port": 1, "host": "::1"}', "ADLINE_SERVER__PORT": "2"}
    server = load(tmp_path, "", environ).settings.server
    assert (server.port, server.host) == (2, "::1")


def test_a_text_that_looks_like_a_list_stays_a_text(tmp_path: Path) -> None:
    assert load(tmp_path, "", {"ADLINE_SERVER__HOST": "[::1]"}).settings.server.host == "[::1]"


def test_lists_from_the_environment_are_json(tmp_path: Path) -> None:
    environ = {"ADLINE_STATIONS__PRESS__CAMERAS": '[{"kind": "folder", "name": "left", "path": "in"}]'}
    assert [camera.name for camera in load(tmp_path, STATION, environ).settings.stations[0].cameras] == ["left"]
    (problem,) = problems(tmp_path, STATION, {"ADLINE_STATIONS": "[{"})
    assert problem.startswith("environment ADLINE_STATIONS: stations is not valid JSON: ")


def test_an_entry_that_is_not_there_cannot_be_changed(tmp_path: Path) -> None:
    environ = {"ADLINE_STATIONS__PRES__NAME": "a"}
    assert problems(tmp_path, STATION, environ, {"stations.4.name": "b"}) == [
        "environment ADLINE_STATIONS__PRES__NAME: stations has no entry PRES; it has 0 (press)",
        "command line: stations has no entry 4; it has 0 (press)",
    ]
    (problem,) = problems(tmp_path, "", environ)
    assert problem == "environment ADLINE_STATIONS__PRES__NAME: stations has no entry PRES: it is empty"


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "adline.toml"
    path.write_bytes(b"\xef\xbb\xbf# one\r\n[server]\r\nport = 7\r\n")
    loaded = load_settings(path, {})
    assert (loaded.settings.server.port, loaded.origin["server.port"]) == (7, "adline.toml:3")


def test_settings_cannot_be_changed_once_read(tmp_path: Path) -> None:
    loaded = load(tmp_path, "")
    with pytest.raises(ValueError, match="frozen"):
        loaded.settings.server.port = 1


def test_stages_are_found_by_name(tmp_path: Path) -> None:
    settings = load(tmp_path, "[stages.inference]\nnum_gpus = 0.5\nresources = { gpu_pc = 1 }").settings
    assert settings.stages["inference"].num_gpus == 0.5
    assert settings.stages["capture"].num_gpus == 0
    with pytest.raises(KeyError):
        settings.stages["model_dump"]


def test_a_clip_as_patchcores_backbone_is_one_line_and_takes_any_side(tmp_path: Path) -> None:
    text = '[recipes.a]\n[recipes.b]\nbackbone = "ViT-B/16"\nimage_size = 250\nfeatures_list = [6, 9]\n'
    recipes = load(tmp_path, text).settings.recipes
    assert [recipe.backbone for recipe in recipes.values()] == ["efficientnet-lite0", "ViT-B/16"]


def test_the_default_image_size_is_the_detectors_own(tmp_path: Path) -> None:
    weights = 'detector = "anomalyclip"\nclip = "ViT-L/14@336px"\nprompts = "epoch_15"\n'
    text = f"[recipes.a]\n[recipes.b]\n{weights}[recipes.c]\n{weights}image_size = 336\n"
    recipes = load(tmp_path, text).settings.recipes
    assert [recipe.image_size for recipe in recipes.values()] == [256, 518, 336]

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.configuration import load_settings
from storage.errors import SettingsError
from tests.unit.configuration_files import STATION, load, problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server.port = 99999", "adline.toml:1: server.port is 99999; allowed: a whole number from 1 to 65535"),
        ('server.port = "x"', 'adline.toml:1: server.port is "x"; allowed: a whole number from 1 to 65535'),
        ("[server]\nhost = 3", "adline.toml:2: server.host is 3; allowed: a text that is not empty"),
        (
            "inference.replicas = true",
            "adline.toml:1: inference.replicas is true; allowed: a whole number from 1 to 1024",
        ),
        ("record.sweep_seconds = nan", "adline.toml:1: record.sweep_seconds is NaN; allowed: a number above 0 and "),
        ('images.format = "bmp"', 'adline.toml:1: images.format is "bmp"; allowed: "jpeg" or "png"'),
        ('inference.device = "gpu"', 'adline.toml:1: inference.device is "gpu"; allowed: "auto", "cpu", "cuda" or '),
        ("line = 3", "adline.toml:1: line is 3; allowed: a table"),
        ("stations = 3", "adline.toml:1: stations is 3; allowed: a list"),
        ("recipes = []", "adline.toml:1: recipes is []; allowed: a table"),
        ("[recipes.Bad_Name]", "adline.toml:1: recipes.Bad_Name is no name; allowed: a name of lower-case letters"),
        (
            "[recipes.a]\nimage_size = 32",
            "adline.toml:2: recipes.a.image_size is 32; allowed: a whole number from 64",
        ),
        ("recipes.a.teach.kind = 'x'", 'adline.toml:1: recipes.a.teach.kind is "x"; allowed: "folder" or "elpv"'),
        ("recipes.a.teach.cells = 'x'", 'adline.toml:1: recipes.a.teach.kind is missing; allowed: "folder" or "elpv"'),
        ("recipes.a.teach.kind = 'folder'", "adline.toml:1: recipes.a.teach.path is missing; allowed: a path"),
        ("stages.capture.resources.a = 0", "adline.toml:1: stages.capture.resources.a is 0; allowed: a number above 0"),
        ('database.url = "mysql://h"', 'adline.toml:1: database.url is "mysql://h"; allowed: a URL such as postgresql'),
    ],
)
def test_a_wrong_value_is_answered_with_place_path_given_and_allowed(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[server]\nprot = 1",
            "adline.toml:2: server.prot is no setting; did you mean server.port? allowed: host, port",
        ),
        ("[servr]\nport = 1", "adline.toml:1: servr is no setting; did you mean server? allowed: line, server,"),
        ("port = 1", "adline.toml:1: port is no setting; did you mean server.port? allowed: line,"),
        (
            "[stages.inferense]",
            "adline.toml:1: stages.inferense is no setting; did you mean stages.inference? allowed: ",
        ),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_one(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ADLINE_SERVER__PROT", "ADLINE_SERVER__PORT"),
        ("ADLINE_SERVER_PORT", "ADLINE_SERVER__PORT"),
        ("ADLINE_PORT", "ADLINE_SERVER__PORT"),
        ("ADLINE_RECORD_SWEEP_SECONDS", "ADLINE_RECORD__SWEEP_SECONDS"),
    ],
)
def test_an_unknown_variable_is_answered_with_the_nearest_one(tmp_path: Path, name: str, meant: str) -> None:
    (found,) = problems(tmp_path, "", {name: "1"})
    assert found.startswith(f"environment {name}: ")
    assert f"did you mean {meant}?" in found


@pytest.mark.parametrize("text", ["[server]\nport = \n", "[server]\nport = 1\nport 2", "[server]\nport = 1\nport = 2"])
def test_a_syntax_error_is_answered_with_line_and_column(tmp_path: Path, text: str) -> None:
    (found,) = problems(tmp_path, text)
    line = 2 if text.endswith("\n") else 3
    assert found.startswith(f"adline.toml:{line}:")
    assert "is no valid TOML: " in found and f"(line {line}, column " in found


def test_a_syntax_error_at_the_end_of_the_file_has_line_and_column_too(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "[server]\nport = [1,")
    assert found.startswith("adline.toml:2:")
    assert "(line 2, column " in found


def test_a_file_that_is_no_text_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "adline.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"adline\.toml: cannot be read: "):
        load_settings(path, {})


def test_all_problems_are_answered_at_once_wherever_they_come_from(tmp_path: Path) -> None:
    text = STATION.replace('recipe = "bracket"', 'recipe = "braket"') + "[server]\nport = 0\nhots = 1\n"
    found = problems(tmp_path, text, {"ADLINE_FOO": "1", "REDIS_URL": "http://h"}, {"record.batch_size": 0})
    starts = [
        "adline.toml:12: server.port is 0",
        "adline.toml:13: server.hots is no setting; did you mean server.host?",
        "environment REDIS_URL: stream.url is ",
        "command line: record.batch_size is 0",
        "environment ADLINE_FOO: foo is no setting",
        'adline.toml:4: stations.0.recipe is "braket"; allowed: one of the recipes: "bracket"',
    ]
    assert len(found) == len(starts)
    assert all(any(problem.startswith(start) for problem in found) for start in starts)


def test_a_syntax_error_does_not_hide_a_wrong_variable(tmp_path: Path) -> None:
    found = problems(tmp_path, "[", {"ADLINE_SERVER__PORT": "x"})
    assert len(found) == 2


def station(trigger: str = "", *cameras: str) -> str:
    tables = "".join(f"[[stations.cameras]]\n{camera}\n" for camera in cameras)
    return f'[recipes.r]\n[[stations]]\nname = "a"\nrecipe = "r"\n{tables}{trigger}'


FOLDER = 'kind = "folder"\npath = "p"'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (station("", FOLDER) + station("", FOLDER).removeprefix("[recipes.r]\n"), "stations.1.name"),
        (station("", FOLDER, FOLDER), "stations.0.cameras.1.name"),
        (station('[stations.trigger]\nkind = "file"', FOLDER), "stations.0.trigger.kind"),
        (station("", f"{FOLDER}\nwatch = true\nloop = true"), "stations.0.cameras.0.loop"),
        (station("", f"{FOLDER}\ntimeout_seconds = 15"), "stations.0.cameras.0.timeout_seconds"),
        (station(""), "stations.0.cameras"),
        ("record.give_up_seconds = 15", "record.give_up_seconds"),
        ('inference.device = "cuda:0"', "inference.device"),
        ("[recipes.a]\nimage_size = 100", "recipes.a.image_size"),
        ("[recipes.a]\nfeatures_list = [6, 9]", "recipes.a.features_list"),
        (
            '[recipes.a]\ndetector = "anomalyclip"\nclip = "ViT-B/32"\nprompts = "a"\nbackbone = "ViT-B/32"',
            "recipes.a.backbone",
        ),
        ('[recipes.a]\ndetector = "anomalyclip"\nclip = "ViT-B/32"', "recipes.a.prompts"),
        ('[recipes.a]\ndetector = "anomalyclip"\nprompts = "epoch_15"', "recipes.a.clip"),
    ],
)
def test_settings_that_disagree_are_answered_with_the_path_of_one(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, text)
    assert f": {problem} is " in found and "; allowed: " in found


def test_a_file_trigger_goes_with_a_watched_folder(tmp_path: Path) -> None:
    text = station('[stations.trigger]\nkind = "file"', f"{FOLDER}\nwatch = true")
    assert load(tmp_path, text).settings.stations[0].trigger.kind == "file"


def test_a_value_that_is_wrong_already_is_not_held_against_another(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "[record]\ngive_up_seconds = -1\nreclaim_idle_seconds = 200")
    assert "record.give_up_seconds is -1" in found


def test_a_wrong_camera_does_not_count_as_a_missing_one(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, station("", 'kind = "foldr"'))
    assert found.startswith('adline.toml:6: stations.0.cameras.0.kind is "foldr"; allowed: "folder" or ')

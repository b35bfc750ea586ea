from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.demo import demo_line, example_line
from orchestrator.reference import rows
from orchestrator.schema import schema
from orchestrator.settings import Settings
from orchestrator.template import NOT_SET, template
from tests.unit.configuration_files import load

lines_of_both = pytest.mark.parametrize("line", [demo_line, example_line])
SETTING = re.compile(r"# ([a-z_]+ = .+)")


def uncommented(text: str) -> str:
    """The fixed sections with each default written out, as a person would who takes the # away."""
    lines = text.split("# Where one capture and one decision happen.")[0].splitlines()
    pairs = zip(["", *lines], lines, strict=False)
    return "\n".join(SETTING.sub(r"\1", line) for before, line in pairs if before != f"# {NOT_SET}")


def without_empty(found: Any) -> Any:
    """A table in which every setting is a comment says nothing."""
    if isinstance(found, list):
        return [without_empty(one) for one in found]
    if not isinstance(found, dict):
        return found
    return {name: kept for name, one in found.items() if (kept := without_empty(one)) != {}}


@lines_of_both
def test_the_written_file_is_valid_and_says_what_it_was_given(
    tmp_path: Path, line: Callable[[], dict[str, Any]]
) -> None:
    text = template(line())
    assert without_empty(tomllib.loads(text)).items() >= line().items()
    loaded = load(tmp_path, text)
    assert loaded.settings == Settings.model_validate(line(), context={"folder": tmp_path})


def test_the_defaults_in_the_written_file_are_the_defaults(tmp_path: Path) -> None:
    text = uncommented(template(example_line()))
    given = tomllib.loads(text)
    assert given["server"]["port"] == 8000 and given["record"]["give_up_seconds"] == 120
    assert load(tmp_path, text).settings == Settings()


def test_every_setting_is_in_the_written_file() -> None:
    text = template(example_line())
    for row in rows():
        name = row.path.rsplit(".", 1)[-1]
        assert re.search(rf"^(# )?{name} = ", text, re.MULTILINE), row.path
        assert " ".join(str(row.node["description"]).split()) in re.sub(r"\n# ", " ", text) or name == "kind"


def test_other_kinds_are_valid_once_uncommented(tmp_path: Path) -> None:
    text = template(example_line())
    for block in re.findall(r"# Another kind: .*\n((?:.+\n)+)", text):
        header, *lines = block.splitlines()
        path = header.strip("# []").split(".")[1:]
        body = "\n".join(SETTING.sub(r"\1", line) for line in lines)
        given = example_line()
        if path == ["cameras"]:
            given["stations"][0]["cameras"] = [tomllib.loads(body)]
        elif path == ["trigger"]:
            given["stations"][0]["trigger"] = tomllib.loads(body)
            given["stations"][0]["cameras"][0]["watch"] = True
        else:
            given["recipes"]["part-a"]["teach"] = tomllib.loads(body)
        Settings.model_validate(given)


@lines_of_both
def test_the_schema_accepts_the_written_file(line: Callable[[], dict[str, Any]]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(tomllib.loads(template(line())), schema())


def test_the_schema_refuses_what_the_settings_refuse() -> None:
    for wrong in ({"server": {"port": 0}}, {"server": {"prot": 1}}, {"stations": [{"name": "a"}]}, {"x": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema())


def test_every_setting_is_described() -> None:
    for row in rows():
        assert str(row.node["description"]).strip(), row.path
    assert json.dumps(schema())

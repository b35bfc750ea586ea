from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from orchestrator.configuration import Loaded, load_settings
from orchestrator.template import toml_value
from storage.errors import SettingsError

SEGMENTS = """line name server port host database url stages capture num_cpus stations recipes recipe cameras kind path
    trigger interval folder elpv bayer resources teach 0 1 -1 press bracket Bad_Name x""".split()

segment = some.sampled_from(SEGMENTS) | some.text(some.characters(exclude_categories=["Cs", "Cc"]), max_size=3)
plain = (
    some.booleans()
    | some.integers(-1, 10)
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.sampled_from(SEGMENTS)
    | some.text(some.characters(exclude_categories=["Cs", "Cc"]), max_size=4)
)


def nested(leaf: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    return some.recursive(
        leaf,
        lambda inner: some.lists(inner, max_size=2) | some.dictionaries(segment, inner, max_size=3),
        max_leaves=12,
    )


text = some.sampled_from(["1", "x", "null", "[]", "{}", "[{}]", '{"kind": "folder"}', "[1, 2", "postgresql://u:p@h/d"])
path = some.lists(segment, min_size=1, max_size=5)


def toml(given: dict[str, Any]) -> str:
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in given.items() if key != "-1")


def answer(text: str, environ: dict[str, str], overrides: dict[str, Any]) -> Loaded | list[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "adline.toml"
        file.write_text(text, encoding="utf-8")
        try:
            return load_settings(file, environ, overrides)
        except SettingsError as error:
            return error.problems


@settings(max_examples=100, deadline=None)
@given(
    some.dictionaries(some.sampled_from(SEGMENTS), nested(plain), max_size=3),
    some.dictionaries(path.map(lambda path: "ADLINE_" + "__".join(path).upper()), text, max_size=3),
    some.dictionaries(path.map(".".join), nested(plain | some.dates() | some.floats()), max_size=2),
)
def test_whatever_is_given_is_taken_or_answered(
    given: dict[str, Any], environ: dict[str, str], overrides: dict[str, Any]
) -> None:
    found = answer(toml(given), environ, overrides)
    assert isinstance(found, Loaded) or (found and all("\n" not in problem for problem in found))


@settings(max_examples=100, deadline=None)
@given(some.text(max_size=60))
def test_any_text_is_taken_or_answered(text: str) -> None:
    found = answer(text.encode("utf-8", "replace").decode(), {}, {})
    assert isinstance(found, Loaded) or found

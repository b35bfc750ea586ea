from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from orchestrator.origin import leaves
from orchestrator.template import toml_value
from orchestrator.toml_lines import toml_lines

TEXT = '''# comment with [brackets] = 1
top = 1
"quoted key".'other' = "a # b \\" ]"
[table] # comment
dotted.key = """
line = 1
"""
raw = \'\'\'
[no.table]
\'\'\'
list = [ # comment
  1,
  { inner = [true, "]"], more = 2 },
  [3, 4], # last
]
[[station]]
name = "a"
[[station.camera]]
kind = 1
[[station.camera]]
kind = 2
[station.trigger]
kind = 3
[[station]]
name = 1979-05-27T07:32:00Z
[[station.camera]]
kind = 4
'''


def test_each_key_is_found_on_its_line() -> None:
    lines = toml_lines(TEXT)
    expected: dict[tuple[str | int, ...], int] = {
        ("top",): 2,
        ("quoted key", "other"): 3,
        ("table",): 4,
        ("table", "dotted", "key"): 5,
        ("table", "raw"): 8,
        ("table", "list"): 11,
        ("table", "list", 0): 12,
        ("table", "list", 1, "inner"): 13,
        ("table", "list", 1, "more"): 13,
        ("table", "list", 2): 14,
        ("station", 0, "name"): 17,
        ("station", 0, "camera", 1): 20,
        ("station", 0, "camera", 1, "kind"): 21,
        ("station", 0, "trigger", "kind"): 23,
        ("station", 1, "name"): 25,
        ("station", 1, "camera", 0, "kind"): 27,
    }
    assert {path: lines.get(path) for path in expected} == expected


def test_every_value_that_toml_reads_has_a_line() -> None:
    lines = toml_lines(TEXT)
    assert all(path in lines for path, _ in leaves(tomllib.loads(TEXT)))


def test_a_file_beyond_the_scanner_has_no_lines_rather_than_wrong_ones() -> None:
    assert toml_lines("this is = = no TOML [") == {}


values = some.recursive(
    some.booleans() | some.integers(-(2**60), 2**60) | some.text(some.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(some.dictionaries(some.from_regex(r"[a-z]{1,5}", fullmatch=True), values, min_size=1, max_size=5))
def test_any_value_can_be_written_read_and_found_again(given: dict[str, Any]) -> None:
    text = "".join(f"{key} = {toml_value(value)}\n" for key, value in given.items())
    assert tomllib.loads(text) == given
    lines = toml_lines(text)
    assert [lines[(key,)] for key in given] == list(range(1, len(given) + 1))
    assert all(path in lines for path, _ in leaves(given))

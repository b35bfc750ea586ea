from __future__ import annotations

from pathlib import Path

from orchestrator.reference import END, START, rows, settings_table

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_has_the_table_of_every_setting() -> None:
    text = README.read_text(encoding="utf-8")
    table = text[text.index(START) : text.index(END) + len(END)] + "\n"
    assert table == settings_table(), "print it anew with `adline config table` and paste it between the markers"


def test_the_table_has_every_setting_once() -> None:
    settings = [(row.path, row.meaning) for row in rows()]  # kinds of camera may have a setting of the same name
    assert len(settings) == len(set(settings))
    paths = [path for path, _ in settings]
    assert {"server.port", "stations[].cameras[].bayer", "recipes.<name>.teach.count"} <= set(paths)

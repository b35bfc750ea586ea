from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from orchestrator.reference import END, START, rows, settings_table
from storage.auditor import ask

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


def test_the_readme_names_every_column_of_the_views() -> None:
    text = README.read_text(encoding="utf-8")
    section = text[text.index("## Ask the records") :].partition("\n## ")[0]
    versions = (
        *("0002_the_auditor", "0003_threshold_settings", "0004_the_labeling_queue", "0005_the_people"),
        *("0007_registry", "0008_training_runs", "0009_drift", "0014_what_models_were_taught_from"),
    )
    explained: dict[str, set[str]] = {}
    for version in versions:
        for view, columns in import_module(f"migrations.versions.{version}").COLUMNS.items():
            explained.setdefault(view, set()).update(columns)
    for view, columns in explained.items():
        (row,) = [line for line in section.splitlines() if line.startswith(f"| `{view}`")]
        named = {word for group in re.findall(r"`([^`]*)`", row) for word in group.split()} - {view}
        assert named == columns or row.endswith("| as above |")


def test_the_questions_of_the_readme_are_answered(database_url: str) -> None:
    text = README.read_text(encoding="utf-8")
    questions = re.findall(r'^adline audit sql "(.*)"$', text, re.MULTILINE)
    assert len(questions) >= 3
    for question in questions:
        ask(database_url, question, timeout_seconds=30, most=10)

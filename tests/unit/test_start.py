"""What `adline start --parts` answers: the exit code says whether every part was recorded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import start as module
from cli.main import app

SUMMARY = {
    "parts": 3,
    "verdicts": {"OK": 3},
    "lost": 0,
    "duplicated": 0,
    "open_reviews": 0,
    "latency_ms": {"p50": 1.0, "p99": 2.0},
    "parts_per_second": 0.0,
}


@pytest.mark.parametrize(
    ("options", "found", "code"),
    [
        (["--parts", "3"], {}, 0),
        (["--parts", "3"], {"lost": 1}, 1),
        (["--parts", "3", "--json"], {"duplicated": 1}, 1),
        ([], {"lost": 1}, 0),
    ],
)
def test_a_part_that_was_lost_or_doubled_is_an_exit_code(
    options: list[str], found: dict[str, int], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any) -> dict[str, Any]:
        return SUMMARY | found

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "log_to_file", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    answered = CliRunner().invoke(app, ["start", *options], env={"ADLINE_HOME": str(tmp_path / "home")})
    assert answered.exit_code == code, answered.output
    assert "3 inspections" in answered.output or '"parts": 3' in answered.output

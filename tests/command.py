"""Runs `adline` as a person does, without a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.main import main

VARIABLES = ("ADLINE_CONFIG", "ADLINE_HOME", "DATABASE_URL", "REDIS_URL")


class Command:
    """`adline` in a folder of its own; keeps what the last call printed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.out = self.err = ""
        monkeypatch.chdir(folder)
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)

    def __call__(self, *arguments: str) -> int:
        self.monkeypatch.setattr(sys, "argv", ["adline", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        self.out, self.err = self.capsys.readouterr()
        return int(ended.value.code or 0)

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The answer of a command with --json."""
        assert self(*arguments, "--json") == code, self.err
        return json.loads(self.out)

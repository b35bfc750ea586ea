from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from cli.main import main
from orchestrator.reference import settings_table


class Command:
    """Runs `adline` in a folder of its own and keeps what it printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        self.monkeypatch.setattr(sys, "argv", ["adline", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        self.out, self.err = self.capsys.readouterr()
        return int(ended.value.code or 0)


@pytest.fixture
def adline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    for name in [*filter(lambda name: name.startswith("ADLINE_"), os.environ), "DATABASE_URL", "REDIS_URL"]:
        monkeypatch.delenv(name, raising=False)
    return Command(monkeypatch, capsys)


def test_init_writes_a_file_that_validates(adline: Command, tmp_path: Path) -> None:
    assert adline("init") == 0
    assert adline("config", "validate") == 0
    assert adline.out == f"{tmp_path / 'adline.toml'}: line line-1, 1 station, 1 recipe: valid\n"


def test_init_does_not_overwrite_unless_forced(adline: Command, tmp_path: Path) -> None:
    path = tmp_path / "adline.toml"
    path.write_text("# mine\n")
    assert adline("init") == 1
    assert adline.err == f"adline: {path} is already there; --force overwrites it\n"
    assert path.read_text() == "# mine\n"
    assert adline("init", "--demo", "--force") == 0
    assert 'kind = "elpv"' in path.read_text()


def test_validate_names_every_problem_without_a_traceback(adline: Command, tmp_path: Path) -> None:
    (tmp_path / "adline.toml").write_text("[server]\nport = 0\nhots = 'x'\n")
    assert adline("config", "validate") == 1
    assert adline.err.splitlines() == [
        "adline: adline.toml:2: server.port is 0; allowed: a whole number from 1 to 65535",
        "adline: adline.toml:3: server.hots is no setting; did you mean server.host? "
        "allowed: host, port, allowed_hosts, trusted_proxies, open_metrics",
    ]
    assert adline("config", "validate", "--json") == 1
    answer = json.loads(adline.out)
    assert not answer["valid"] and len(answer["problems"]) == 2


def test_wrong_usage_ends_with_2(adline: Command) -> None:
    assert adline("config", "validate", "--nonsense") == 2
    assert adline("nonsense") == 2


def test_show_says_where_a_value_comes_from_and_hides_passwords(
    adline: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:geheim@h/d")
    assert adline("config", "show", "--origin") == 0
    assert 'database.url = "postgresql://u:***@h/d"  # environment DATABASE_URL' in adline.out
    assert "server.port = 8000  # default" in adline.out
    assert adline("config", "show", "--json") == 0
    assert json.loads(adline.out)["database"] == {"url": "postgresql://u:***@h/d", "pool_size": 10}
    assert adline("config", "show", "--json", "--origin") == 0
    assert json.loads(adline.out)["server.port"] == {"value": 8000, "origin": "default"}


def test_show_without_a_file_says_that_this_is_the_demo_line(adline: Command) -> None:
    assert adline("config", "show") == 0
    assert adline.out.startswith("# no adline.toml here: the demo line, 1 station, 1 recipe; state in ")


def test_schema_and_table_are_printed(adline: Command) -> None:
    assert adline("config", "schema") == 0
    assert json.loads(adline.out)["title"] == "Settings"
    assert adline("config", "table") == 0
    assert adline.out == settings_table()


def test_version_is_printed(adline: Command) -> None:
    assert adline("--version") == 0
    assert adline.out.startswith("adline ")

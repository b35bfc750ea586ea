"""Who gets in: at the machine of the demo line whoever is there, on a line that others reach whoever is known."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.users import FIRST_ADMIN
from tests.acceptance.command import Adline, run, wait_until

pytestmark = pytest.mark.usefixtures("alone")


def session(line: Adline, words: dict[str, str] | None = None) -> tuple[int, str]:
    """Who the line takes a stranger for, who shows nothing; with words, after signing in with them."""
    body = json.dumps(words).encode() if words else None
    url = f"http://127.0.0.1:{line.port}/api/v1/session"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as answer:
            return answer.status, json.load(answer)["name"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def answers(line: Adline) -> bool:
    try:
        return line.get("/healthz")[0] == 200
    except OSError:
        return False


def test_the_demo_line_signs_in_by_itself_and_says_so_and_for_others_it_never_does(tmp_path: Path) -> None:
    with Adline(tmp_path, "start") as line:
        wait_until(lambda: answers(line), "the line answers")
        assert session(line) == (200, "demo")
        wait_until(lambda: "lets whoever is at this machine in without a password" in line.said(), "it says so")
        assert "the password" not in line.said().replace("without a password", "")
        assert line.stop() == 0
    with Adline(tmp_path, "start", "--host", "0.0.0.0", "--json") as line:
        wait_until(lambda: answers(line), "the line answers")
        assert session(line) == (401, "")
        password = line.err.read_text().split("with the password ")[1].split()[0]
        assert session(line, {"name": FIRST_ADMIN, "password": password}) == (200, FIRST_ADMIN)
        assert session(line, {"name": FIRST_ADMIN, "password": "guess"}) == (401, "")
        files = line.out, line.err
        assert run(tmp_path, "status")[0] == 0, "who may read the state folder is known"
        line.out, line.err = files
        logs = tmp_path / ".adline" / "logs"
        kept = "".join(file.read_text(errors="replace") for file in logs.rglob("*") if file.is_file())
        assert password not in kept
        assert line.stop() == 0

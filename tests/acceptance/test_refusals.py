"""What keeps a line from starting is told at once, in words, before anything runs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.acceptance.command import Adline, free_port, run

BROKEN = {
    "a broken file": ("[server\nport = 1\n", {}, "adline.toml:1"),
    "a wrong value": ("[images]\njpeg_quality = 0\n", {}, "images.jpeg_quality"),
    "a setting that is not there": ("[serwer]\nport = 80\n", {}, "serwer"),
    "a database that is none": ("", {"DATABASE_URL": "mysql://db/adline"}, "postgresql"),
    "a stream that is none": ("", {"REDIS_URL": "http://cache"}, "redis"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_setting_that_is_wrong_is_named(case: str, tmp_path: Path) -> None:
    text, environ, named = BROKEN[case]
    if text:
        (tmp_path / "adline.toml").write_text(text)
    code, said = run(tmp_path, "start", environ=environ)
    assert code == 1
    assert named in said and "Traceback" not in said
    assert not (tmp_path / ".adline").exists()


@pytest.mark.parametrize(("name", "scheme"), [("DATABASE_URL", "postgresql"), ("REDIS_URL", "redis")])
def test_a_server_that_does_not_answer_is_named_without_its_password(name: str, scheme: str, tmp_path: Path) -> None:
    port = free_port()
    with Adline(tmp_path, "start", environ={name: f"{scheme}://plant:geheim@127.0.0.1:{port}/0"}) as line:
        assert line.finish() == 1
        assert f"127.0.0.1:{port}" in line.said() and "refused" in line.said()
        assert "geheim" not in line.said() and "Traceback" not in line.said()
        assert line.left() == []


def test_a_busy_port_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Adline(tmp_path, "start", "--json", port=port) as line:
            assert line.finish() == 1
            assert f"server.port {port} on 127.0.0.1 cannot be used" in line.said()
            assert line.seen == set()
    assert not (tmp_path / ".adline" / "postgres").exists()


def test_a_folder_that_cannot_hold_the_state_is_named(tmp_path: Path) -> None:
    (tmp_path / ".adline").touch()
    code, said = run(tmp_path, "start")
    assert code == 1
    assert f"state folder {tmp_path / '.adline'}: File exists" in said and "ADLINE_HOME" in said
    assert "Traceback" not in said


def test_weights_that_are_missing_are_told_before_ray_starts(tmp_path: Path) -> None:
    """The command that gets them is told, too."""
    (tmp_path / "adline.toml").write_text(
        '[recipes.a]\ndetector = "anomalyclip"\nclip = "ViT-B/32"\nprompts = "epoch_15"\n'
        '[[stations]]\nname = "press"\nrecipe = "a"\ntrigger = { kind = "software" }\n'
        'cameras = [{ kind = "folder", path = "incoming" }]\n'
    )
    (tmp_path / "incoming").mkdir()
    with Adline(tmp_path, "start") as line:
        assert line.finish() == 1
        assert "adline model pull ViT-B-32:openai" in line.said() and "Traceback" not in line.said()
        assert {name for name, _ in line.listening}.isdisjoint({"gcs_server", "raylet"})
        assert line.left() == []


def test_a_gpu_that_is_not_there_is_told_and_not_waited_for(tmp_path: Path) -> None:
    with Adline(tmp_path, "start", "--json", environ={"ADLINE_STAGES__INFERENCE__NUM_GPUS": "64"}) as line:
        assert line.finish() == 1
        assert (
            "stages.inference.num_gpus is 64, and Ray's machine has" in line.said() and "Traceback" not in line.said()
        )
        assert line.left() == []
    assert "stages.inference.num_gpus is 64" in run(tmp_path, "doctor", environ=line.environ)[1]

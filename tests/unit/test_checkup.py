"""Each check of `adline doctor`: what it accepts, what it refuses, and how to mend it."""

from __future__ import annotations

import os
import re
import resource
import socket
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import checkup_line as line
from orchestrator import checkup_machine as machine
from orchestrator.checkup import Finding, examine, ok
from orchestrator.configuration import Loaded, load_settings
from orchestrator.settings import Settings
from storage.errors import ServiceFailed
from storage.model_files import artefact_sha256
from tests.unit import tiny_weights

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def loaded(folder: Path, text: str) -> Loaded:
    path = folder / "adline.toml"
    path.write_text(text)
    return load_settings(path, {})


def test_every_distribution_the_project_needs_is_checked() -> None:
    needed = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in needed}  # type: ignore[index]  # all have a name
    assert set(machine.MODULES) == names


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.MODULES, "left-out", "left_out")
    found = only(machine.packages())
    assert (found.state, found.detail) == ("failed", "missing: left-out") and "install" in found.mend


def test_an_unsupported_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.python()).state == "ok"
    monkeypatch.setattr(machine, "NEWEST_PYTHON", (3, 9))
    assert only(machine.python()).state == "failed"


def test_a_check_that_breaks_is_a_finding_and_hides_no_other() -> None:
    def broken() -> Iterator[Finding]:
        yield ok("first", str(1 / len(os.environ["PATH"][:0])))

    findings = list(examine([("first", broken), ("second", lambda: iter([ok("second", "fine")]))]))
    assert [(found.check, found.state) for found in findings] == [("first", "failed"), ("second", "ok")]
    assert "ZeroDivisionError" in findings[0].detail


def test_few_open_files_are_a_warning_and_very_few_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for soft in (resource.RLIM_INFINITY, 65_536, 512, 64):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, 65_536))
        states.append(only(machine.open_files()).state)
    assert states == ["ok", "ok", "warning", "failed"]


def test_a_gpu_that_was_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    assert only(machine.graphics("auto")).state == "ok"
    found = only(machine.graphics("cuda:1"))
    assert found.state == "failed" and "inference.device is cuda:1" in found.detail


def test_what_stages_reserve_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert only(line.reserved(loaded(tmp_path, "").settings)).state == "ok"
    assert only(line.reserved(loaded(tmp_path, "[stages.inference]\nnum_cpus = 2\n").settings)).state == "ok"
    found = only(line.reserved(loaded(tmp_path, "[stages.inference]\nnum_gpus = 1\n").settings))
    assert (found.state, found.detail) == ("failed", "stages.inference.num_gpus is 1, and Ray's machine has 0 GPU")
    elsewhere = '[ray]\naddress = "10.0.0.1:6380"\n[stages.inference]\nnum_gpus = 1\n'
    assert "cluster at 10.0.0.1:6380" in only(line.reserved(loaded(tmp_path, elsewhere).settings)).detail


def test_shared_memory_too_small_for_the_object_store_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    assert only(machine.shared_memory(1)).state == "ok"
    assert only(machine.shared_memory(1 << 60)).state == "warning"
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "none")
    assert list(machine.shared_memory(1)) == []


def test_a_clock_behind_the_records_is_refused() -> None:
    assert only(machine.clock()).state == "ok"
    assert only(machine.clock(4e9)).state == "failed"


def test_a_clock_before_the_installation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert "before adline was installed" in only(machine.clock()).detail


def test_solar_cells_are_needed_by_those_who_ask_for_them(tmp_path: Path) -> None:
    demo = load_settings(None, {"ADLINE_HOME": str(tmp_path)}).settings
    assert line.uses_elpv(demo)
    assert not line.uses_elpv(Settings())
    assert list(machine.demo_data(False)) == []


def test_a_folder_of_images_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    settings = loaded(
        tmp_path,
        """
        [[stations]]
        name = "press"
        recipe = "bracket"
        [[stations.cameras]]
        kind = "folder"
        path = "incoming"
        [recipes.bracket.teach]
        kind = "folder"
        path = "good"
        """,
    ).settings
    found = list(line.image_folders(settings))
    assert [finding.state for finding in found] == ["failed", "ok"]
    assert f"camera press/camera-1: {tmp_path / 'incoming'} is no folder" in found[0].detail


def test_known_good_images_without_a_group_are_named(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for name in ("a1.png", "a2.png", "b1.png"):
        (tmp_path / "good" / name).write_bytes(b"")
    groups = tmp_path / "good" / "groups.csv"
    text = """
        [[stations]]
        name = "press"
        recipe = "bracket"
        [[stations.cameras]]
        kind = "folder"
        path = "good"
        [recipes.bracket.teach]
        kind = "folder"
        path = "good"
        groups = "good/groups.csv"
        """
    groups.write_text("image,group\na1.png,a\na2.png,a\n")
    found = only(line.known_good_groups(loaded(tmp_path, text).settings))
    assert found.state == "failed" and "gives no group for b1.png" in found.detail
    groups.write_text("image,group\na1.png,a\na2.png,a\nb1.png,b\n")
    found = only(line.known_good_groups(loaded(tmp_path, text).settings))
    assert found.state == "ok" and "3 images of 2 parts" in found.detail


def test_a_state_folder_in_the_way_of_a_file_is_refused(tmp_path: Path) -> None:
    assert only(line.state_folder(tmp_path / "deep" / ".adline")).state == "ok"
    (tmp_path / "file").write_text("")
    assert only(line.state_folder(tmp_path / "file" / ".adline")).state == "failed"


def test_a_disk_below_the_minimum_is_refused(tmp_path: Path) -> None:
    states = [only(line.disk(tmp_path / "later", minimum)).state for minimum in (0, 1 << 60)]
    assert states == ["ok", "failed"]


def test_a_deep_folder_is_said_to_need_a_link(tmp_path: Path) -> None:
    assert "bytes" in only(line.sockets(Path("/srv/.adline"))).detail
    assert "the folder is deep" in only(line.sockets(Path("/" + "deep/" * 30))).detail


def test_a_port_somebody_else_holds_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = only(line.web_port(loaded(tmp_path, f"[server]\nport = {port}\n")))
    assert found.state == "failed" and "another program uses it" in found.detail
    assert only(line.web_port(loaded(tmp_path, f"[server]\nport = {port}\n"))).state == "ok"
    assert only(line.web_port(loaded(tmp_path, '[server]\nhost = "203.0.113.1"\n'))).state == "failed"


def test_a_program_that_does_not_run_is_told(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 127\n")
    with pytest.raises(ServiceFailed, match="does not run"):
        line.runnable(program)
    os.chmod(program, 0o755)
    with pytest.raises(ServiceFailed, match="no such library"):
        line.runnable(program)


def test_an_altered_model_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m-1"
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    sha256 = artefact_sha256(folder)
    assert line.model_file(tmp_path, "bracket", "m-1", sha256).state == "ok"
    (folder / "weights").write_bytes(b"Weights")
    found = line.model_file(tmp_path, "bracket", "m-1", sha256)
    assert found.state == "failed" and found.mend
    assert line.model_file(tmp_path, "bracket", "m-2", sha256).state == "failed"


def test_whatever_fails_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "adline.toml").write_text("[server]\nport = 0\n")
    findings = list(line.check_up(tmp_path / "adline.toml", {}))
    assert findings[-1].check == "configuration" and findings[-1].state == "failed"
    assert all(finding.mend for finding in findings if finding.state != "ok")


def test_weights_that_a_recipe_names_are_looked_for(tmp_path: Path) -> None:
    text = '[recipes.a]\ndetector = "anomalyclip"\nclip = "ViT-tiny:random"\nprompts = "tiny-prompts"\n'
    settings = loaded(tmp_path, text).settings
    found = only(line.weights(settings, ["a"], tmp_path / "models"))
    assert found.state == "failed" and found.detail.startswith("a: ViT-tiny:random: there are no such clip weights")
    assert found.mend.startswith("get them with `adline model pull ViT-tiny:random`")
    tiny_weights.store_clip(tmp_path / "models")
    tiny_weights.store_prompts(tmp_path / "models")
    assert [one.state for one in line.weights(settings, ["a"], tmp_path / "models")] == ["ok", "ok"]

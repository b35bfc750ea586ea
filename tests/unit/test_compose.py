from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.settings import Settings
from tests.unit.configuration_files import load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return found


def test_only_this_machine_reaches_a_published_port(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports == [f"127.0.0.1:{Settings().server.port}:{Settings().server.port}"]


def test_every_service_has_a_health_check_and_the_line_waits_for_the_others(services: dict[str, Any]) -> None:
    assert all("healthcheck" in service for service in services.values())
    waits = services["line"]["depends_on"]
    assert {name: wait["condition"] for name, wait in waits.items()} == dict.fromkeys(
        services.keys() - {"line"}, "service_healthy"
    )


def test_the_shared_memory_holds_the_object_store(services: dict[str, Any]) -> None:
    assert services["line"]["shm_size"] == "1gb"
    assert Settings().ray.object_store_megabytes < 1024


def test_no_password_stands_in_the_compose_file(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|AUTH|URL", name):
                assert ":?set it in .env}" in value, name


def test_the_settings_take_what_the_compose_file_gives(services: dict[str, Any], tmp_path: Path) -> None:
    given = services["line"]["environment"]
    environ = {name: re.sub(r"\$\{[^}]*\}", "geheim", value) for name, value in given.items()}
    settings = load(tmp_path, "", environ).settings
    assert settings.database.url == "postgresql://adline:geheim@postgres:5432/adline"
    assert settings.stream.url == "redis://:geheim@valkey:6379/0"

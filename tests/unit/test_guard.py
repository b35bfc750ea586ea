from __future__ import annotations

import pytest

from orchestrator.doorkeeper import host_name, is_loopback
from orchestrator.guard import is_own, own_names
from orchestrator.person import PERMISSIONS, READING, Needs
from orchestrator.settings import Server
from orchestrator.sign_in_page import LANGUAGES, spoken
from storage.people_rows import Role


@pytest.mark.parametrize(
    ("header", "name", "own"),
    [
        ("localhost:8000", "localhost", True),
        ("LOCALHOST", "localhost", True),
        ("localhost.:8000", "localhost", True),
        ("127.0.0.1:8000", "127.0.0.1", True),
        ("[::1]:8000", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("plant.example:443", "plant.example", True),
        ("127.0.0.1.evil.example:8000", "127.0.0.1.evil.example", False),
        ("evil.example", "evil.example", False),
        ("localhost:8000@evil.example", "localhost:8000@evil.example", False),
        ("", "", False),
    ],
)
def test_a_server_knows_its_names(header: str, name: str, own: bool) -> None:
    assert host_name(header) == name
    assert is_own(name, own_names(Server(allowed_hosts=("plant.example",)))) is own


def test_only_this_machine_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "plant.example", "", "localhost.evil.example")))


def test_no_auditor_writes_and_no_operator_sees_a_model() -> None:
    for level in ("operator", "engineer", "admin"):
        assert not Needs(level).permits(Role.AUDITOR, "POST")
        assert all(Needs(level).permits(Role.AUDITOR, method) for method in READING)
    for method in ("GET", "POST", "DELETE"):
        assert not Needs("engineer").permits(Role.OPERATOR, method)
        assert not Needs("admin").permits(Role.ENGINEER, method)
        assert Needs("admin").permits(Role.ADMIN, method)
    assert set(PERMISSIONS) == set(Role)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("ko", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8", "ko"),
        ("en;q=0.5,ko;q=0.6", "ko"),
        ("de,fr;q=0.9", "en"),
        ("de,ko;q=0.1", "ko"),
        ("ko;q=x,,;", "ko"),
    ],
)
def test_the_page_speaks_the_language_asked_for_most(accepted: str, language: str) -> None:
    assert spoken(accepted) is LANGUAGES[language]

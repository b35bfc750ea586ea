"""`adline user`: people, roles, passwords and tokens, from a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from orchestrator.configuration import load_settings
from orchestrator.doorkeeper import Doorkeeper
from orchestrator.users import FIRST_ADMIN, changing, make_first_admin
from storage.database import Database
from storage.errors import SignInRefused
from tests.command import Command

PASSWORD = "four herons wade upstream"
OTHER = "nine kettles hum at dusk"


class UserCommand(Command):
    """`adline user`, with what is piped into it."""

    def typed(self, text: str, *arguments: str) -> int:
        self.monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return self("user", *arguments)


@pytest.fixture
def adline(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> UserCommand:
    command = UserCommand(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("DATABASE_URL", database_url)
    return command


@pytest.fixture
def doorkeeper(database: Database) -> Doorkeeper:
    return Doorkeeper(database, load_settings(None, {}).settings, console_token="of this run", is_demo=False)


def names(adline: UserCommand) -> dict[str, str]:
    return {user["name"]: user["role"] for user in adline.json("user", "list")}


def test_the_first_command_makes_the_first_admin_and_tells_the_password_once(
    adline: UserCommand, doorkeeper: Doorkeeper
) -> None:
    assert adline.json("user", "list") == []
    assert adline.typed(f"{PASSWORD}\n", "add", "Otto", "--role", "operator") == 0
    assert adline.out == "otto is operator\n"
    assert adline.err.startswith("adline: the first user is 'admin' with the password ")
    first = adline.err.split("the password ")[1].split()[0]
    assert doorkeeper.sign_in(FIRST_ADMIN, first, "here", "").person.role == "admin"
    assert doorkeeper.sign_in("otto", PASSWORD, "here", "").person.role == "operator"
    assert adline.typed(f"{PASSWORD}\n", "add", "anna", "--role", "engineer") == 0
    assert adline.err == ""
    assert names(adline) == {"admin": "admin", "anna": "engineer", "otto": "operator"}


def test_who_makes_an_admin_first_needs_no_other(adline: UserCommand) -> None:
    assert adline.typed(f"{PASSWORD}\n", "add", "ada", "--role", "admin") == 0
    assert (adline.err, names(adline)) == ("", {"ada": "admin"})
    assert adline("user", "role", "ada", "operator") == 1
    assert "'ada' is the only admin left" in adline.err
    assert adline("user", "remove", "ada") == 1


def test_a_password_is_changed_and_the_tries_are_forgotten(adline: UserCommand, doorkeeper: Doorkeeper) -> None:
    adline.typed(f"{PASSWORD}\n", "add", "ada", "--role", "admin")
    assert adline.typed(f"{OTHER}\n", "passwd", "ada") == 0
    with pytest.raises(SignInRefused):
        doorkeeper.sign_in("ada", PASSWORD, "here", "")
    assert doorkeeper.sign_in("ada", OTHER, "here", "")
    assert adline.typed(f"{OTHER}\n", "passwd", "nobody") == 1
    assert adline.err == "adline: there is no user 'nobody'; `adline user list` shows them\n"


@pytest.mark.parametrize("password", ["", "short", "adaadaadaadaadaada", "passwordpassword"])
def test_a_password_that_is_guessed_first_is_refused_and_nobody_added(adline: UserCommand, password: str) -> None:
    assert adline.typed(f"{password}\n", "add", "ada", "--role", "admin") == 1
    assert adline.err.startswith("adline: the password ")
    assert password == "" or password not in adline.err
    assert names(adline) == {}


def test_a_password_is_no_argument(adline: UserCommand) -> None:
    assert adline("user", "add", "ada", PASSWORD, "--role", "admin") == 2
    assert adline("user", "passwd", "ada", "--password", PASSWORD) == 2
    assert adline("user", "add", "ada", "--role", "boss") == 2
    assert "operator" in adline.err


def test_a_program_has_a_token_until_it_is_revoked(adline: UserCommand, doorkeeper: Doorkeeper) -> None:
    assert adline("user", "add", "prometheus", "--role", "auditor", "--no-password") == 0
    with pytest.raises(SignInRefused):
        doorkeeper.sign_in("prometheus", "", "here", "")
    assert adline("user", "token", "add", "prometheus", "--label", "metrics", "--days", "30") == 0
    token = adline.out.strip()
    person = doorkeeper.of_token(token)
    assert person and (person.name, person.role, person.way) == ("prometheus", "auditor", "token")
    (shown,) = adline.json("user", "token", "list")
    assert (shown["user_name"], shown["label"]) == ("prometheus", "metrics") and shown["expires_at"]
    assert token not in str(shown)
    assert adline("user", "token", "revoke", str(shown["id"])) == 0
    assert doorkeeper.of_token(token) is None
    assert adline("user", "token", "revoke", str(shown["id"])) == 1
    assert adline.json("user", "token", "list") == []


def test_who_left_the_plant_is_let_in_no_more_and_stays_on_record(adline: UserCommand, doorkeeper: Doorkeeper) -> None:
    adline.typed(f"{PASSWORD}\n", "add", "otto", "--role", "operator")
    assert adline("user", "role", "otto", "engineer") == 0
    assert adline("user", "remove", "otto") == 0
    with pytest.raises(SignInRefused):
        doorkeeper.sign_in("otto", PASSWORD, "here", "")
    question = "SELECT what, detail FROM v_people_history WHERE user_name = 'otto' AND done_by LIKE 'console:%'"
    assert [(row["what"], row["detail"]) for row in adline.json("audit", "sql", question)] == [
        ("user_added", "operator"),
        ("role_changed", "operator to engineer"),
        ("user_removed", ""),
    ]


def test_a_name_that_can_be_nobodys_is_refused(adline: UserCommand) -> None:
    for name in ("a b", "x" * 65, "", "demo", "console", "<b>"):
        assert adline.typed(f"{PASSWORD}\n", "add", name, "--role", "operator") == 1
        assert "user name" in adline.err


def test_people_can_be_added_before_the_line_was_ever_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adline = UserCommand(tmp_path, monkeypatch, capsys)
    assert adline("user", "list") == 1, "a command that reads makes nothing"
    assert list(tmp_path.iterdir()) == []
    assert adline.typed(f"{PASSWORD}\n", "add", "은지", "--role", "admin") == 0
    assert names(adline) == {"은지": "admin"}
    assert adline("user", "list") == 0 and "은지" in adline.out


def test_a_password_that_cannot_be_told_is_not_set(tmp_path: Path, database_url: str, database: Database) -> None:
    def lost(what: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError), database.begin() as session:
        make_first_admin(session, lost)
    heard: list[str] = []
    with changing(load_settings(None, {"DATABASE_URL": database_url}), heard.append):
        assert len(heard) == 1

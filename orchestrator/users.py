"""What `adline user` does on the records of a line, and the first admin, who is made when there is none."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy.orm import Session

from orchestrator.configuration import Loaded
from orchestrator.doorkeeper import digest
from orchestrator.password import Passwords, check_password, random_password
from orchestrator.services import services
from orchestrator.settings import Settings
from storage import people, tries
from storage.database import Database, migrate
from storage.people_rows import Role

FIRST_ADMIN = "admin"
TOKEN_PREFIX = "adline_"  # so that a token that was left lying about is recognised


@contextmanager
def changing(loaded: Loaded, tell: Callable[[str], None] | None) -> Iterator[Session]:
    """One transaction on the records of a line, running or not; they are made if need be.

    tell: how the first admin's password is shown; None when there is no need of one.
    """
    with services(loaded.home, loaded.settings.database.url, stream=False) as used:
        migrate(used.database_url)
        database = Database(used.database_url, pool_size=2)
        try:
            if tell:
                with database.begin() as session:
                    make_first_admin(session, tell)
            with database.begin() as session:
                yield session
        finally:
            database.close()


def make_first_admin(session: Session, tell: Callable[[str], None]) -> None:
    """When nobody may do everything, make the one who may, and tell the password: it is written nowhere else."""
    if people.has_admin(session):
        return
    password = random_password()
    people.add(session, FIRST_ADMIN, Role.ADMIN, console(), Passwords().hash(password))
    # Within the transaction: a password that cannot be told is not set.
    tell(f"the first user is {FIRST_ADMIN!r} with the password {password} (shown only now)")


def add_user(session: Session, settings: Settings, name: str, role: Role, password: str | None) -> None:
    hash = password_hash(settings, name, password) if password is not None else None
    people.add(session, name, role, console(), hash)


def change_password(session: Session, settings: Settings, name: str, password: str) -> None:
    """Set another password; tries to sign in that failed are forgotten."""
    people.require(session, name)
    people.change_password(session, name, password_hash(settings, name, password), console())
    tries.forgive(session, [tries.key("account", name)])


def add_token(session: Session, name: str, label: str, days: int | None) -> str:
    """A new token of this user; only its hash is kept."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    people.add_token(session, name, digest(token), label, console(), timedelta(days=days) if days else None)
    return token


def password_hash(settings: Settings, name: str, password: str) -> str:
    check_password(password, settings.people.password_minimum_characters, name, settings.line.name)
    return Passwords().hash(password)


def console() -> str:
    """Who sits at the terminal, as the records call them."""
    return f"console:{getpass.getuser()}"

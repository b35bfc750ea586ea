"""The registry for commands: beside a running line or without one."""

from __future__ import annotations

import getpass
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from orchestrator.archive import reading, records
from orchestrator.configuration import Loaded
from orchestrator.following import follow
from orchestrator.person import PERMISSIONS
from orchestrator.registry import Registry
from orchestrator.running import running_line
from storage import people
from storage.database import Database, check_schema
from storage.errors import DeploymentRefused
from storage.people_rows import Role

WAIT_SECONDS = 30.0


@contextmanager
def looking(loaded: Loaded) -> Iterator[Registry]:
    """The registry, in a transaction that cannot change anything."""
    with reading(loaded) as session:
        yield Registry(session, loaded.home / "models", loaded.settings.recipes)


def change(
    loaded: Loaded, act: Callable[[Registry], dict[str, Any]], wait_seconds: float = WAIT_SECONDS
) -> dict[str, Any]:
    """Do it in one transaction; where a line runs, wait until its workers follow, and tell how long each took."""
    with records(loaded) as used:
        check_schema(used.database_url)
        with closing(Database(used.database_url, pool_size=2)) as database:
            with database.begin() as session:
                made = act(Registry(session, loaded.home / "models", loaded.settings.recipes))
            line = running_line(loaded)
            if line is None or made.get("deployment_id") is None or wait_seconds <= 0:
                return made
            return made | {"workers": follow(line, database, made, wait_seconds, time.sleep).shown()}


def person(session: Session, token_file: Path | None) -> str | None:
    """Whose API token the file holds; None without a file. Refused when that person may not deploy."""
    if token_file is None:
        return None
    token = token_file.read_text().strip()
    user = people.token_user(session, hashlib.sha256(token.encode("utf-8", "replace")).hexdigest())
    if user is None:
        raise DeploymentRefused(f"{token_file} holds no API token that is in use")
    if "engineer" not in PERMISSIONS[Role(user.role)].write:
        raise DeploymentRefused(f"{user.name} is {user.role}; this needs another role: engineer")
    return user.name


def account() -> str:
    """Who works at this terminal."""
    return getpass.getuser()

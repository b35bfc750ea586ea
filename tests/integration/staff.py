"""People of every role, and every way in which they, or somebody who is not them, can ask."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import cache

from sqlalchemy import text

from orchestrator.doorkeeper import digest
from orchestrator.password import Passwords
from storage import people, sessions
from storage.database import Database
from storage.people_rows import Role

PASSWORD = "four herons wade upstream"
NAMES = {Role.OPERATOR: "otto", Role.ENGINEER: "eun-ji", Role.AUDITOR: "aude", Role.ADMIN: "ada"}
COOKIE = "adline_session_8000"
ENTITLED = ["session", "token"]
STALE = [
    *("idle session", "long session", "ended session", "session of a removed user", "unknown session"),
    *("expired token", "revoked token", "token of a removed user", "unknown token", "no bearer"),
]
SPOILT = {
    "idle session": "UPDATE sessions SET seen_at = now() - interval '61 minutes'",
    "long session": "UPDATE sessions SET started_at = now() - interval '12 hours'",
    "ended session": "UPDATE sessions SET ended_at = now()",
    "expired token": "UPDATE api_tokens SET expires_at = now()",
    "revoked token": "UPDATE api_tokens SET revoked_at = now()",
}
REMOVED = "UPDATE users SET removed_at = now()"


@cache
def password_hash() -> str:
    return Passwords().hash(PASSWORD)


def hire(database: Database) -> None:
    """One user of each role, all with the same password."""
    with database.begin() as session:
        for role, name in NAMES.items():
            people.add(session, name, role, "test", password_hash())


def showing(database: Database, name: str, way: str) -> dict[str, str]:
    """The headers of a request of this user; those of a stale way were good once."""
    secret = secrets.token_urlsafe(32)
    is_session = "session" in way
    with database.begin() as session:
        if is_session and "unknown" not in way:
            sessions.begin(session, digest(secret), name, digest("browser"), "192.0.2.7")
        elif "unknown" not in way:
            people.add_token(session, name, digest(secret), "test", "test", timedelta(days=1))
        if way in STALE:
            spoil = SPOILT.get(way, REMOVED if "removed" in way else "SELECT 1")
            session.execute(text(spoil))
    if way == "no bearer":
        return {"Authorization": f"Basic {secret}"}
    return {"Cookie": f"{COOKIE}={secret}"} if is_session else {"Authorization": f"Bearer {secret}"}

"""Free questions in SQL, answered by a role that can only read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg2.errorcodes as codes
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from storage.database import connection
from storage.errors import AuditorMissing, QuestionRefused

ALLOWED = "one statement that returns rows is allowed: SELECT, WITH, VALUES or TABLE"
IS_SAFE = text(
    """
    SELECT f.prosecdef AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls)
    FROM pg_proc f JOIN pg_roles r ON r.oid = f.proowner
    WHERE f.oid = to_regprocedure('audit_rows(text, bigint)') AND r.rolname = 'adline_auditor'
    """
)


@dataclass(frozen=True)
class Answer:
    """The rows of an answer; `cut` when there are more than were asked for."""

    columns: list[str]
    rows: list[dict[str, Any]]
    cut: bool


def available(url: str) -> bool:
    """Is there an auditor who may only read?"""
    with connection(url) as connected:
        return bool(connected.execute(IS_SAFE).scalar())


def ask(url: str, question: str, *, timeout_seconds: float, most: int) -> Answer:
    """What the records say. The transaction is read only and never committed."""
    with connection(url) as connected:
        if not connected.execute(IS_SAFE).scalar():
            raise AuditorMissing
        connected.rollback()
        try:
            head, *lines = asked(connected, question, timeout_seconds, most + 1)
        except DBAPIError as error:
            raise QuestionRefused(refusal(error, timeout_seconds)) from error
        finally:
            connected.rollback()
    rows = [json.loads(line) for line in lines]
    return Answer(distinct(json.loads(head)), rows[:most], cut=len(rows) > most)


def asked(connected: Connection, question: str, timeout_seconds: float, most: int) -> list[str]:
    connected.execute(text("SET TRANSACTION READ ONLY"))
    connected.execute(text("SET LOCAL timezone = 'UTC'"))
    connected.execute(text(f"SET LOCAL statement_timeout = {max(1, round(timeout_seconds * 1000))}"))
    rows = connected.execute(
        text("SELECT CAST(line AS text) FROM audit_rows(:question, :most) AS line"),
        {"question": question, "most": most},
    )
    return list(rows.scalars())


def distinct(columns: list[str]) -> list[str]:
    """Two columns of one name would be one in the answer, and the reader would not notice."""
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise QuestionRefused(f"several columns are called {', '.join(twice)}; give each its own name with AS")
    return columns


def refusal(error: DBAPIError, timeout_seconds: float) -> str:
    """What Postgres said, in a line; its own words are the best help with SQL."""
    diagnosis = getattr(error.orig, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error.orig).strip().partition("\n")[0]
    code = getattr(error.orig, "pgcode", None)
    if code == codes.QUERY_CANCELED:
        return f"the answer took longer than {timeout_seconds:g} s; narrow the question or raise --timeout"
    if code == codes.INVALID_CURSOR_DEFINITION:
        return f"{said}; {ALLOWED}"
    hint = getattr(diagnosis, "message_hint", None)
    return f"{said} ({hint})" if hint else said

"""What is on record, in numbers, for who looks at a line that is stopped."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage.drift import alarms
from storage.events import Verdict
from storage.records import open_reviews, summarise_run

LAST_RUN = text(
    "SELECT id, line, code_version, host, started_at FROM line_runs ORDER BY started_at DESC, id DESC LIMIT 1"
)
COUNTS = text("SELECT verdict, count(*) FROM verdicts GROUP BY verdict")
DEPLOYED = text(
    """
    SELECT d.recipe, d.alias, d.model_version, m.sha256, d.deployed_at, d.deployed_by, d.reason
    FROM deployments d JOIN model_versions m ON m.id = d.model_version
    WHERE d.id IN (SELECT max(id) FROM deployments GROUP BY recipe, alias) AND d.share > 0
    ORDER BY d.recipe, d.alias
    """
)
NEWEST = text("SELECT max(recorded_at) FROM verdicts")


def overview(session: Session) -> dict[str, Any]:
    """The last run, the verdicts of all runs, the open reviews, the models in use, the open drift alarms."""
    count, oldest_seconds = open_reviews(session)
    return {
        "last_run": last_run(session),
        "verdicts": verdicts(session),
        "last_recorded_at": newest_record(session),
        "open_reviews": {"count": count, "oldest_seconds": round(oldest_seconds, 1)},
        "models": deployed(session),
        "drift_alarms": alarms(session),
    }


def last_run(session: Session) -> dict[str, Any] | None:
    row = session.execute(LAST_RUN).mappings().one_or_none()
    return {**row, **summarise_run(session, row["id"]).shown()} if row else None


def newest_record(session: Session) -> datetime | None:
    """When the last verdict was recorded."""
    newest: datetime | None = session.scalar(NEWEST)
    return newest


def verdicts(session: Session) -> dict[str, int]:
    """How many parts got which verdict, over all runs."""
    counts = {verdict: count for verdict, count in session.execute(COUNTS)}
    return {verdict.value: counts.get(verdict.value, 0) for verdict in Verdict}


def deployed(session: Session) -> list[dict[str, Any]]:
    """The model version that holds each alias of each recipe now."""
    return [dict(row) for row in session.execute(DEPLOYED).mappings()]

"""Training runs on record: asked for, begun, resumed, ended. Functions take a session and never commit.

Who trains holds an advisory lock for as long as it lives. A run that is 'running' while the lock is free belongs to a
process that died.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from storage.errors import TrainingEnded, TrainingRunUnknown
from storage.events import new_id
from storage.training_models import ENDED, Cause, RunState, TrainingRun

LOCK: Final = 0xAD17A  # advisory lock: one program trains at a time, on whatever machine

# People's decisions about parts of the recipe that hold and can be learned from. No more are counted than matter, and
# `since` is told and not asked for beneath: what the planner knows, it need not read a year of labels to find.
NEW_LABELS = text(
    """
    SELECT count(*) FROM (
        SELECT FROM labels l JOIN reviews r ON r.id = l.review_id AND r.label_id = l.id
        JOIN inspections i ON i.id = r.inspection_id JOIN recipes c ON c.id = i.recipe_id
        WHERE c.name = :recipe AND l.decision IN ('normal', 'anomaly') AND r.state = 'resolved'
            AND l.decided_at > CAST(:since AS timestamptz)
        LIMIT :most) counted
    """
)
LAST_SNAPSHOT = text(
    """
    SELECT coalesce(max(coalesce(t.started_at, t.requested_at)), '-infinity')::text FROM training_runs t
    WHERE t.recipe = :recipe AND t.state <> 'queued'
    """
)

DECIDED = text(
    """
    SELECT l.decision, count(*) AS parts FROM reviews r JOIN labels l ON l.id = r.label_id
    WHERE l.decided_at >= :since GROUP BY l.decision
    """
)
VERDICT_TIMES = text(
    "SELECT v.recorded_at FROM verdicts v JOIN inspections i ON i.id = v.inspection_id "
    "WHERE i.run_id = :run_id ORDER BY v.recorded_at"
)


# Asked for


def ask(session: Session, recipe: str, cause: Cause, by: str, seed: int) -> TrainingRun:
    """A run that waits for its turn; the one that waits already when there is one."""
    added = insert(TrainingRun).values(id=new_id(), recipe=recipe, cause=cause, requested_by=by, seed=seed)
    session.execute(added.on_conflict_do_nothing(index_elements=["recipe"], index_where=text("state = 'queued'")))
    waits = select(TrainingRun).where(TrainingRun.recipe == recipe, TrainingRun.state == RunState.QUEUED)
    return session.scalars(waits).one()


def cancel(session: Session, run_id: UUID, by: str) -> TrainingRun:
    """A run that waits is cancelled; of one that runs it is asked, and its process ends it."""
    run = locked(session, run_id)
    if run.state in ENDED:
        raise TrainingEnded(run_id, run.state)
    run.cancel_asked_at, run.cancel_asked_by = func.clock_timestamp(), by
    if run.state == RunState.QUEUED:
        run.state, run.ended_at = RunState.CANCELLED, func.clock_timestamp()
    session.flush()
    session.refresh(run)
    return run


# Run


def try_lock(connected: Connection) -> bool:
    """Become the one who trains, until this connection ends; False when another process is."""
    return bool(connected.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}))


def holds_lock(connected: Connection) -> bool:
    """Whether this connection still is the one that the server gave the lock to."""
    mine = text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted "
        "AND ((classid::bigint << 32) | objid::bigint) = :key)"
    )
    return bool(connected.scalar(mine, {"key": LOCK}))


def work(session: Session, maximum_attempts: int) -> TrainingRun | None:
    """The run to work on, for who holds the lock: what a dead process left, else the one that waits longest.

    A run that was begun too often already is failed, with what is known of it, and the next one is looked for.
    """
    while run := interrupted(session) or waiting(session):
        if run.cancel_asked_at is not None:
            end(session, run.id, RunState.CANCELLED)
        elif run.attempt >= maximum_attempts:
            phase = f" in phase {run.phase}" if run.phase else ""
            reason = f"its process ended without a word in {run.attempt} attempts, the last{phase}"
            end(session, run.id, RunState.FAILED, error=f"{reason} ({run.error})" if run.error else reason)
        else:
            return begun(session, run)
    return None


def interrupted(session: Session) -> TrainingRun | None:
    return session.scalar(select(TrainingRun).where(TrainingRun.state == RunState.RUNNING).with_for_update())


def waiting(session: Session) -> TrainingRun | None:
    oldest = select(TrainingRun).where(TrainingRun.state == RunState.QUEUED)
    return session.scalar(oldest.order_by(TrainingRun.requested_at, TrainingRun.id).limit(1).with_for_update())


def begun(session: Session, run: TrainingRun) -> TrainingRun:
    run.state, run.attempt = RunState.RUNNING, run.attempt + 1
    run.heartbeat_at = func.clock_timestamp()
    if run.started_at is None:
        run.started_at = func.clock_timestamp()
    session.flush()
    session.refresh(run)
    return run


def note(session: Session, run_id: UUID, **facts: Any) -> bool:
    """Write down how far the run is, and that it lives; whether somebody wants it cancelled."""
    changed = update(TrainingRun).where(TrainingRun.id == run_id, TrainingRun.state == RunState.RUNNING)
    asked = changed.values(heartbeat_at=func.clock_timestamp(), **facts).returning(TrainingRun.cancel_asked_at)
    rows = session.execute(asked).all()
    return not rows or rows[0].cancel_asked_at is not None


def end(session: Session, run_id: UUID, state: RunState, **facts: Any) -> None:
    """The run's last word; TrainingEnded when it had one already."""
    changed = update(TrainingRun).where(TrainingRun.id == run_id, TrainingRun.state.not_in(ENDED))
    ended = changed.values(state=state, ended_at=func.clock_timestamp(), **facts).returning(TrainingRun.id)
    if session.scalar(ended) is None:
        raise TrainingEnded(run_id, find(session, run_id).state)


def again(session: Session, run_id: UUID, error: str) -> None:
    """What went wrong in this attempt; it stays on record should the next one end without a word."""
    session.execute(update(TrainingRun).where(TrainingRun.id == run_id).values(error=error))


# What is on record


def find(session: Session, run_id: UUID) -> TrainingRun:
    found = session.get(TrainingRun, run_id)
    if found is None:
        raise TrainingRunUnknown(run_id)
    return found


def locked(session: Session, run_id: UUID) -> TrainingRun:
    found = session.get(TrainingRun, run_id, with_for_update=True)
    if found is None:
        raise TrainingRunUnknown(run_id)
    return found


def listed(
    session: Session, recipe: str | None = None, since: datetime | None = None, limit: int = 50
) -> Sequence[TrainingRun]:
    """The newest first."""
    query = select(TrainingRun).order_by(TrainingRun.requested_at.desc(), TrainingRun.id.desc()).limit(limit)
    if recipe is not None:
        query = query.where(TrainingRun.recipe == recipe)
    if since is not None:
        query = query.where(TrainingRun.requested_at >= since)
    return session.scalars(query).all()


def under_way(session: Session, recipe: str | None = None) -> int:
    """How many wait or run."""
    open_ones = select(func.count()).select_from(TrainingRun).where(TrainingRun.state.not_in(ENDED))
    return session.scalar(open_ones if recipe is None else open_ones.where(TrainingRun.recipe == recipe)) or 0


def new_labels(session: Session, recipe: str, most: int) -> int:
    """How many parts people decided since the recipe's last run began, normal or anomaly; counted up to `most`."""
    since = session.scalar(LAST_SNAPSHOT, {"recipe": recipe})
    return session.scalar(NEW_LABELS, {"recipe": recipe, "since": since, "most": most}) or 0


def last_asked(session: Session, recipe: str, cause: Cause) -> datetime | None:
    """When a run was last asked for by this cause."""
    asked = select(func.max(TrainingRun.requested_at))
    return session.scalar(asked.where(TrainingRun.recipe == recipe, TrainingRun.cause == cause))


def shown(run: TrainingRun) -> dict[str, Any]:
    """A run as the API and `--json` tell it."""
    return {column.key: getattr(run, column.key) for column in TrainingRun.__table__.columns}


# Beside a run of the line


def decided(session: Session, since: datetime) -> dict[str, int]:
    """How many parts people decided how since then, by the label that holds."""
    return {row.decision: row.parts for row in session.execute(DECIDED, {"since": since})}


def verdict_times(session: Session, line_run: UUID) -> list[datetime]:
    """When each verdict of a run of the line was recorded."""
    return list(session.scalars(VERDICT_TIMES, {"run_id": line_run}))

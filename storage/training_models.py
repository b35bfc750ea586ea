"""The rows of training runs: what was trained why, how far it got, and what the gate said of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Base, values_of


class Cause(StrEnum):
    """Why a run was asked for."""

    CRON = "cron"
    LABELS = "labels"
    DRIFT = "drift"
    HAND = "hand"


class RunState(StrEnum):
    """Where a training run stands; the last three are for ever."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """The steps of a run, in their order; each leaves a checkpoint."""

    SNAPSHOT = "snapshot"
    FEATURES = "features"
    FIT = "fit"
    EVALUATE = "evaluate"
    GATE = "gate"
    DEPLOY = "deploy"


ENDED = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)


class TrainingRun(Base):
    """One retraining, from snapshot to candidate to the gate's decision. Once ended it is never changed.

    attempt: how often a process began or resumed it. heartbeat_at: when its process last said that it lives.
    """

    __tablename__ = "training_runs"
    __table_args__ = (
        # Never two at once, and of each recipe one that waits.
        Index("ix_training_runs_running", "state", unique=True, postgresql_where=text("state = 'running'")),
        Index("ix_training_runs_queued", "recipe", unique=True, postgresql_where=text("state = 'queued'")),
        Index(None, "recipe", "requested_at"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
        CheckConstraint("NOT promoted OR candidate IS NOT NULL", name="promoted"),
        CheckConstraint("state <> 'failed' OR error IS NOT NULL", name="error"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    recipe: Mapped[str]
    cause: Mapped[Cause] = mapped_column(values_of(Cause))
    requested_by: Mapped[str]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    seed: Mapped[int]
    state: Mapped[RunState] = mapped_column(values_of(RunState), server_default=RunState.QUEUED.value)
    phase: Mapped[Phase | None] = mapped_column(values_of(Phase))
    progress: Mapped[float] = mapped_column(server_default="0")  # of the phase
    detail: Mapped[str] = mapped_column(server_default="")
    attempt: Mapped[int] = mapped_column(server_default="0")
    heartbeat_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    cancel_asked_at: Mapped[datetime | None]
    cancel_asked_by: Mapped[str | None]
    champion: Mapped[str | None] = mapped_column(ForeignKey("model_versions.id"))  # what it retrains
    snapshot: Mapped[str | None]
    candidate: Mapped[str | None] = mapped_column(ForeignKey("model_versions.id"))
    promoted: Mapped[bool] = mapped_column(server_default="false")
    sentence: Mapped[str | None]  # the gate's
    figures: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    report: Mapped[str | None]  # file, relative to the state folder
    error: Mapped[str | None]

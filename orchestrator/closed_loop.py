"""What a run of the line with the oracle came to: labels, training runs, and F1 on the protected pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from storage import records, snapshots, training_runs
from storage.database import Database
from storage.label_models import Decision
from storage.models import LineRun
from storage.snapshot_models import Split
from storage.training_models import TrainingRun

Span = tuple[datetime, datetime]
LEARNED_FROM: Final = (Decision.NORMAL, Decision.ANOMALY)


def closed_loop(database: Database, line_run: UUID, cells: Mapping[str, str]) -> dict[str, Any]:
    """As `adline start --oracle --json` tells it. cells: what kind of cell each image shows, by its SHA-256."""
    with database.begin() as session:
        begun = session.get_one(LineRun, line_run).started_at
        runs = list(reversed(training_runs.listed(session, since=begun, limit=1000)))
        decided = training_runs.decided(session, begun)
        times = training_runs.verdict_times(session, line_run)
        last = last_judged(runs)
        pool = snapshots.items(session, last.snapshot, Split.TEST) if last and last.snapshot else []
    training, idle = rates(times, [(run.started_at, run.ended_at or times[-1]) for run in runs if run.started_at])
    return {
        "labels": sum(decided.get(decision, 0) for decision in LEARNED_FROM),
        "training_runs": len(runs),
        "promoted": sum(run.promoted for run in runs),
        **told(runs),
        "pool_cells": dict(Counter(cells.get(item.sha256, "unknown") for item in pool)),
        "parts_per_second_training": training,
        "parts_per_second_idle": idle,
        "decided": decided,
        "runs": [brief(run) for run in runs],
    }


def told(runs: Sequence[TrainingRun]) -> dict[str, Any]:
    """F1 of the first champion and of the last one, on the pool that the last promotion was decided on."""
    last = last_judged(runs)
    if last is None:
        return {"f1_before": None, "f1_after": None, "pool": 0}
    figures = last.figures
    before = figures["first"]["f1"] if figures.get("first") else figures["f1_before"]
    after = figures["f1_after"] if last.promoted else figures["f1_before"]
    return {"f1_before": before, "f1_after": after, "pool": figures["pool"]["parts"]}


def last_judged(runs: Sequence[TrainingRun]) -> TrainingRun | None:
    """The last run that was promoted; without one the last whose candidate was judged. runs: the oldest first."""
    judged = [run for run in runs if run.figures.get("pool")]
    return next(iter([*(run for run in judged[::-1] if run.promoted), *judged[::-1]]), None)


def rates(times: Sequence[datetime], busy: Sequence[Span]) -> tuple[float | None, float | None]:
    """Parts a second while something was trained, and while nothing was; None where there was no such time.

    The spans do not overlap: never is there more than one training run at a time.
    """
    if len(times) < 2:
        return None, None
    first, last = times[0], times[-1]
    spans = [(max(first, begun), min(last, ended)) for begun, ended in busy]
    spans = [(begun, ended) for begun, ended in spans if begun < ended]
    trained = sum((ended - begun for begun, ended in spans), timedelta())
    within = sum(any(begun <= at < ended for begun, ended in spans) for at in times)
    return rate(within, trained), rate(len(times) - within, last - first - trained)


def rate(parts: int, span: timedelta) -> float | None:
    return round(parts / span.total_seconds(), 2) if span > timedelta() else None


def brief(run: TrainingRun) -> dict[str, Any]:
    facts = ("id", "cause", "state", "snapshot", "champion", "candidate", "promoted", "sentence", "error", "attempt")
    seconds = (run.ended_at - run.started_at).total_seconds() if run.started_at and run.ended_at else None
    figures = {key: run.figures.get(key) for key in ("f1_before", "f1_after", "pool", "labels", "made", "seconds")}
    return {**{name: getattr(run, name) for name in facts}, "took_seconds": seconds, **figures}


def settled(database: Database) -> bool:
    """Whether every part has been decided and no training run waits or is under way."""
    with database.begin() as session:
        return training_runs.under_way(session) == 0 and records.open_reviews(session)[0] == 0

"""What the line writes down and looks up while it runs. Functions take a session and never commit."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, func, select, text, true
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from storage import deployments, embeddings
from storage.events import (
    FrameCaptured,
    FrameFacts,
    InspectionDecided,
    PartShadowed,
    PredictionFacts,
    ReviewReason,
    Trigger,
    Verdict,
    new_id,
    now,
)
from storage.models import (
    Base,
    Frame,
    Inspection,
    InspectionVerdict,
    LineRun,
    ModelVersion,
    Prediction,
    Recipe,
    Review,
    ReviewState,
    Station,
)

CHAMPION = "champion"


def insert_once(session: Session, row: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows that may have been written before; a repeat changes nothing."""
    if rows:
        session.connection().execute(once(row), rows)


@cache
def once(row: type[Base]) -> Insert:
    """Built once, and without the mapper: on the way to a verdict every statement counts."""
    return insert(cast(Table, row.__table__)).on_conflict_do_nothing()


# The line and what it is made of


def open_run(session: Session, run_id: UUID, line: str, code_version: str, host: str, settings: dict[str, Any]) -> None:
    session.add(LineRun(id=run_id, line=line, code_version=code_version, host=host, settings=settings))


def register_station(session: Session, name: str, line: str) -> None:
    insert_once(session, Station, [{"name": name, "line": line}])


def register_recipe(session: Session, name: str, configuration: dict[str, Any]) -> int:
    """The version of the recipe that has this configuration; a new one when the configuration is new."""
    sha256 = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('recipes'))"))
    found = session.scalar(select(Recipe.id).where(Recipe.name == name, Recipe.sha256 == sha256))
    if found is not None:
        return found
    version = 1 + (session.scalar(select(func.max(Recipe.version)).where(Recipe.name == name)) or 0)
    recipe = Recipe(name=name, version=version, sha256=sha256, configuration=configuration)
    session.add(recipe)
    session.flush()
    return recipe.id


# Models


def register_model(session: Session, model: ModelVersion) -> None:
    session.add(model)
    session.flush()


def deploy(session: Session, recipe: str, model_version: str, by: str, reason: str, alias: str = CHAMPION) -> None:
    """From now on this version holds the alias, without any question; storage.deployments.ask asks them."""
    deployments.carry_out(session, deployments.Wish(recipe, model_version, by, reason, deployments.Alias(alias)))


def deployed_model(session: Session, recipe: str, alias: str = CHAMPION) -> ModelVersion | None:
    """The version that holds the alias now."""
    held = deployments.holder(session, recipe, deployments.Alias(alias))
    return session.get(ModelVersion, held.model_version) if held else None


def next_model_id(session: Session, recipe: str, day: str) -> str:
    """A name for a recipe's next version of a day: <recipe>-<YYYYMMDD>-<n>."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('model_versions'))"))
    prefix = f"{recipe}-{day}-"
    taken = session.scalars(select(ModelVersion.id).where(ModelVersion.id.startswith(prefix, autoescape=True))).all()
    numbers = [int(name[len(prefix) :]) for name in taken if name[len(prefix) :].isdigit()]
    return f"{prefix}{max(numbers, default=0) + 1}"


# Inspections


def inspection_row(trigger: Trigger, recipe_id: int) -> dict[str, Any]:
    return {
        "id": trigger.inspection_id,
        "run_id": trigger.run_id,
        "station": trigger.station,
        "recipe_id": recipe_id,
        "part_id": trigger.part_id,
        "product": trigger.product,
        "lot": trigger.lot,
        "trigger_source": trigger.source,
        "trigger_number": trigger.trigger_number,
        "triggered_at": trigger.triggered_at,
    }


def record_captures(session: Session, events: Sequence[FrameCaptured | InspectionDecided | PartShadowed]) -> None:
    """Write the inspections and their frames, so that those without a verdict can be found by asking."""
    insert_once(session, Inspection, [inspection_row(event.trigger, event.recipe_id) for event in events])
    rows = [{"inspection_id": event.trigger.inspection_id, **dict(frame)} for event in events for frame in event.frames]
    insert_once(session, Frame, rows)


def record_verdicts(
    session: Session, events: Sequence[InspectionDecided], captured: AbstractSet[UUID] = frozenset()
) -> set[UUID]:
    """Write each verdict once, with its predictions and review; return the inspections that had none before.

    captured: inspections whose rows are known to be there; those of the others are written first.
    """
    if not events:
        return set()
    record_captures(session, [event for event in events if event.trigger.inspection_id not in captured])
    first = unique(events)
    written = once(InspectionVerdict).returning(InspectionVerdict.__table__.c.inspection_id)
    new = set(session.connection().scalars(written, [verdict_row(event) for event in first]))
    # What was scored again after a repeat, perhaps by another model, did not lead to the verdict.
    told = [event for event in first if event.trigger.inspection_id in new]
    insert_once(session, Prediction, [prediction_row(event, facts) for event in told for facts in event.predictions])
    reviewed = [event for event in told if event.review_reason is not None]
    insert_once(session, Review, [review_row(event) for event in reviewed])
    embeddings.record(session, [(event.trigger.inspection_id, worst_view(event)) for event in reviewed])
    return new


def record_shadows(session: Session, events: Sequence[PartShadowed]) -> None:
    """Write what challengers said; perhaps before the verdict, so the captures are written where they are missing."""
    record_captures(session, events)
    rows = [
        prediction_row(event, facts) | {"scored_at": event.scored_at} for event in events for facts in event.predictions
    ]
    insert_once(session, Prediction, rows)


def recorded_of(session: Session, events: Sequence[InspectionDecided]) -> set[UUID]:
    """The inspections whose verdict on record came from these very events."""
    if not events:
        return set()
    decided_at = {event.trigger.inspection_id: event.decided_at for event in events}
    rows = session.execute(
        select(InspectionVerdict.inspection_id, InspectionVerdict.decided_at).where(
            InspectionVerdict.inspection_id.in_(decided_at)
        )
    )
    return {row.inspection_id for row in rows if row.decided_at == decided_at[row.inspection_id]}


def unique(events: Iterable[InspectionDecided]) -> list[InspectionDecided]:
    """Of each inspection the decision that was told first."""
    first: dict[UUID, InspectionDecided] = {}
    for event in events:
        first.setdefault(event.trigger.inspection_id, event)
    return list(first.values())


def prediction_row(event: InspectionDecided | PartShadowed, facts: PredictionFacts) -> dict[str, Any]:
    row = dict(facts)
    row["projections"] = None if facts.projections is None else list(facts.projections)
    del row["sha256"], row["embedding"]  # the frame's row has the one, storage.embeddings the other
    return {"inspection_id": event.trigger.inspection_id, **row}


def worst_view(event: InspectionDecided) -> PredictionFacts | None:
    return max(event.predictions, key=lambda prediction: prediction.anomaly_score, default=None)


def verdict_row(event: InspectionDecided) -> dict[str, Any]:
    worst = worst_view(event)
    return {
        "inspection_id": event.trigger.inspection_id,
        "verdict": event.verdict,
        "reason": event.reason,
        "anomaly_score": worst.anomaly_score if worst else None,
        "model_version": worst.model_version if worst else None,
        "decided_at": event.decided_at,
        "stage_milliseconds": event.stage_milliseconds,
    }


def review_row(event: InspectionDecided) -> dict[str, Any]:
    worst = worst_view(event)
    return {
        "id": new_id(),
        "inspection_id": event.trigger.inspection_id,
        "reason": event.review_reason,
        "state": ReviewState.OPEN,
        "station": event.trigger.station,
        "product": event.trigger.product,
        "margin": margin(worst, event.review_reason),
    }


def margin(worst: PredictionFacts | None, reason: ReviewReason | None) -> float:
    """From the score to the NG threshold; of a sampled part drawn anew, over what lies between the thresholds.

    So sampled parts come in turn among the uncertain ones whatever they scored, and those that are decided are at any
    time a random draw of them: by their scores the ones nearest to the threshold would come first, most others never.
    """
    if worst is None:
        return 1.0
    if reason is ReviewReason.SAMPLED:
        return random.random() * ((worst.ng_threshold - worst.ok_threshold) or 1.0)
    return abs(worst.anomaly_score - worst.ng_threshold)


def overdue(
    session: Session, older_than: timedelta, since: datetime | None = None, limit: int = 100
) -> list[tuple[FrameCaptured, datetime]]:
    """Captured longer ago than that and without a verdict: what a lost event would have caused, found by asking.

    since: when all that was captured before it is known to have its verdict; history need not be searched again.
    """
    rows = session.execute(
        select(Inspection, Recipe.name)
        .join(Recipe, Recipe.id == Inspection.recipe_id)
        .outerjoin(InspectionVerdict, InspectionVerdict.inspection_id == Inspection.id)
        .where(InspectionVerdict.inspection_id.is_(None), Inspection.recorded_at < func.now() - older_than)
        .where(Inspection.recorded_at >= since if since else true())
        .order_by(Inspection.recorded_at)
        .limit(limit)
    ).all()
    return [(captured(session, inspection, recipe), inspection.recorded_at) for inspection, recipe in rows]


def captured(session: Session, inspection: Inspection, recipe: str) -> FrameCaptured:
    """The event that told of this capture, made again from its rows."""
    frames = session.scalars(select(Frame).where(Frame.inspection_id == inspection.id).order_by(Frame.camera))
    facts = {name: getattr(inspection, name) for name in Trigger.model_fields if hasattr(inspection, name)}
    trigger = Trigger(inspection_id=inspection.id, source=inspection.trigger_source, **facts)
    return FrameCaptured(
        trigger=trigger,
        recipe=recipe,
        recipe_id=inspection.recipe_id,
        frames=tuple(map(frame_facts, frames)),
        told_at=now(),
    )


def frame_facts(frame: Frame) -> FrameFacts:
    return FrameFacts(**{name: getattr(frame, name) for name in FrameFacts.model_fields})


def highest_trigger_number(session: Session, station: str) -> int:
    return session.scalar(select(func.max(Inspection.trigger_number)).where(Inspection.station == station)) or 0


# Sums


@dataclass(frozen=True)
class RunSummary:
    """What is on record of a run; `distinct` counts triggers, so that one recorded twice shows."""

    parts: int
    distinct: int
    verdicts: dict[str, int]
    first_recorded_at: datetime | None
    last_recorded_at: datetime | None
    latency_p50_milliseconds: float | None
    latency_p99_milliseconds: float | None
    open_reviews: int

    def shown(self) -> dict[str, Any]:
        """The contract of `adline start --json`."""
        first, last = self.first_recorded_at, self.last_recorded_at
        seconds = (last - first).total_seconds() if first and last else 0.0
        latency = {"p50": self.latency_p50_milliseconds, "p99": self.latency_p99_milliseconds}
        return {
            "parts": self.parts,
            "verdicts": self.verdicts,
            "duplicated": self.parts - self.distinct,
            "parts_per_second": round((self.parts - 1) / seconds, 2) if seconds else None,
            "latency_ms": {name: round(value, 1) if value is not None else None for name, value in latency.items()},
            "open_reviews": self.open_reviews,
        }


def open_reviews(session: Session) -> tuple[int, float]:
    """How many reviews are open, and the age of the oldest in seconds (0 when there is none)."""
    age = func.extract("epoch", func.now() - func.min(Review.opened_at))
    count, seconds = session.execute(select(func.count(), age).where(Review.state == ReviewState.OPEN)).one()
    return count, float(seconds or 0)


def recorded(session: Session, run_id: UUID) -> int:
    """How many inspections of the run have their verdict on record."""
    counted = select(func.count()).select_from(Inspection).join(InspectionVerdict).where(Inspection.run_id == run_id)
    return session.scalar(counted) or 0


def models_of_run(session: Session, run_id: UUID) -> list[str]:
    """The model versions that judged the run's parts."""
    used = select(InspectionVerdict.model_version).join(Inspection).where(Inspection.run_id == run_id).distinct()
    return sorted(name for name in session.scalars(used) if name)


def summarise_run(session: Session, run_id: UUID) -> RunSummary:
    row = session.execute(RUN_SUMMARY, {"run_id": run_id}).one()
    return RunSummary(
        parts=row.parts,
        distinct=row.distinct_parts,
        verdicts={verdict.value: row.verdicts.get(verdict.value, 0) for verdict in Verdict},
        first_recorded_at=row.first_recorded_at,
        last_recorded_at=row.last_recorded_at,
        latency_p50_milliseconds=row.p50,
        latency_p99_milliseconds=row.p99,
        open_reviews=row.open_reviews,
    )


RUN_SUMMARY = text(
    """
    WITH of_run AS (
        SELECT i.station, i.trigger_number, i.triggered_at, v.verdict, v.recorded_at,
               1000 * extract(epoch FROM v.recorded_at - i.triggered_at)::float8 AS latency, r.state AS review
        FROM inspections i JOIN verdicts v ON v.inspection_id = i.id LEFT JOIN reviews r ON r.inspection_id = i.id
        WHERE i.run_id = :run_id
    )
    SELECT count(*) AS parts,
           count(DISTINCT (station, trigger_number)) AS distinct_parts,
           coalesce((SELECT jsonb_object_agg(verdict, n) FROM (SELECT verdict, count(*) AS n FROM of_run GROUP BY 1) s),
                    '{}') AS verdicts,
           min(recorded_at) AS first_recorded_at, max(recorded_at) AS last_recorded_at,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY latency) AS p50,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY latency) AS p99,
           count(*) FILTER (WHERE review = 'open') AS open_reviews
    FROM of_run
    """
)

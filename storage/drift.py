"""Drift on record. Functions take a session and never commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from storage.drift_models import DriftAcknowledgement, DriftAlarm, DriftMeasurement, DriftReference
from storage.errors import DriftRefused

# Of what was recorded since, a few frames of each camera, drawn by the inspection's random id: whatever the rate of the
# line, the work is the same.
FRAMES = text(
    """
    SELECT station, camera, recipe, model_version, sha256, width, height, captured_at, anomaly_score, ng_threshold,
           recorded_at, projections
    FROM (
        SELECT i.station, f.camera, c.name AS recipe, v.model_version, f.sha256, f.width, f.height, f.captured_at,
               p.anomaly_score, p.ng_threshold, v.recorded_at, p.projections,
               row_number() OVER (PARTITION BY i.station, f.camera ORDER BY md5(i.id::text)) AS drawn
        FROM verdicts v
        JOIN inspections i ON i.id = v.inspection_id
        JOIN recipes c ON c.id = i.recipe_id
        JOIN frames f ON f.inspection_id = i.id
        JOIN predictions p
            ON p.inspection_id = f.inspection_id AND p.camera = f.camera AND p.model_version = v.model_version
        WHERE v.recorded_at > :since AND v.recorded_at <= :until
    ) recent
    WHERE drawn <= :most ORDER BY recorded_at, station, camera
    """
)
NOW = text("SELECT clock_timestamp()")
ALARMS = text("SELECT * FROM v_drift_alarms WHERE :every OR acknowledged_at IS NULL ORDER BY alarm DESC LIMIT :most")
PAUSED = text(
    """
    SELECT alarm, station, camera, sentence FROM v_drift_alarms
    WHERE recipe = :recipe AND pauses_retraining AND acknowledged_at IS NULL ORDER BY alarm LIMIT 1
    """
)
DRIFTED = text(
    """
    SELECT alarm, station, camera, sentence FROM v_drift_alarms
    WHERE recipe = :recipe AND NOT pauses_retraining AND acknowledged_at IS NULL
        AND (CAST(:since AS timestamptz) IS NULL OR raised_at > :since) ORDER BY alarm LIMIT 1
    """
)
RENEWED = text("SELECT max(acknowledged_at) FROM v_drift_alarms WHERE recipe = :recipe AND new_reference")
WISH = text(
    """
    SELECT max(alarm) FROM v_drift_alarms
    WHERE station = :station AND camera = :camera AND model_version = :model_version AND new_reference
    """
)


@dataclass(frozen=True)
class RecordedFrame:
    """A frame and what the model that gave its verdict said of it."""

    station: str
    camera: str
    recipe: str
    model_version: str
    sha256: str
    width: int
    height: int
    captured_at: datetime
    anomaly_score: float
    ng_threshold: float
    recorded_at: datetime
    projections: list[float] | None


def clock(session: Session) -> datetime:
    """The time as the records know it."""
    found: datetime = session.execute(NOW).scalar_one()
    return found


def drawn_frames(session: Session, since: datetime, until: datetime, most: int) -> list[RecordedFrame]:
    """At most so many frames of each camera whose verdict was recorded in that time."""
    rows = session.execute(FRAMES, {"since": since, "until": until, "most": most})
    return [RecordedFrame(*row) for row in rows]


def reference(session: Session, station: str, camera: str, model_version: str) -> DriftReference | None:
    """What frames are compared with; None: the next ones are to become it."""
    where = {"station": station, "camera": camera, "model_version": model_version}
    found = session.scalar(
        select(DriftReference).filter_by(**where).order_by(DriftReference.id.desc()).limit(1),
    )
    wish = session.scalar(WISH, where)
    return None if found is None or (wish is not None and (found.after or 0) < wish) else found


def wish_for_reference(session: Session, station: str, camera: str, model_version: str) -> int | None:
    """The newest alarm whose acknowledgement asked for a new reference."""
    found: int | None = session.scalar(WISH, {"station": station, "camera": camera, "model_version": model_version})
    return found


def last_measurement(session: Session, station: str, camera: str) -> DriftMeasurement | None:
    rows = select(DriftMeasurement).filter_by(station=station, camera=camera)
    return session.scalar(rows.order_by(DriftMeasurement.id.desc()).limit(1))


def raise_alarm(session: Session, measurement: DriftMeasurement, *, pauses_retraining: bool) -> DriftAlarm | None:
    """Once for each time that something changes: None while it still is as the last alarm said."""
    alarms = select(DriftAlarm).filter_by(station=measurement.station, camera=measurement.camera)
    last = session.scalar(alarms.order_by(DriftAlarm.id.desc()).limit(1))
    if last is not None and last.cause == measurement.cause and not recovered_since(session, last, measurement):
        return None
    alarm = DriftAlarm(
        measurement=measurement.id,
        station=measurement.station,
        camera=measurement.camera,
        recipe=measurement.recipe,
        cause=measurement.cause,
        pauses_retraining=pauses_retraining,
    )
    session.add(alarm)
    session.flush()
    return alarm


def recovered_since(session: Session, last: DriftAlarm, measurement: DriftMeasurement) -> bool:
    """Whether all was well in between, or another reference holds."""
    before = session.get_one(DriftMeasurement, last.measurement)
    well = select(DriftMeasurement.id).filter_by(station=last.station, camera=last.camera, cause="none")
    return before.reference != measurement.reference or (
        session.scalar(well.where(DriftMeasurement.id > before.id).limit(1)) is not None
    )


def acknowledge(session: Session, alarm: int, by: str, reason: str, *, new_reference: bool = False) -> dict[str, Any]:
    """An engineer has seen to it; DriftRefused when there is no such alarm or somebody has."""
    if not reason.strip():
        raise DriftRefused("an acknowledgement needs a reason: what was found, or done")
    if session.get(DriftAlarm, alarm) is None:
        open_ones = ", ".join(str(one["alarm"]) for one in alarms(session)) or "none"
        raise DriftRefused(f"there is no drift alarm {alarm}; open ones: {open_ones}")
    if before := session.get(DriftAcknowledgement, alarm):
        when = f"{before.acknowledged_at:%Y-%m-%d %H:%M}"
        raise DriftRefused(f"drift alarm {alarm} was acknowledged by {before.acknowledged_by} at {when} already")
    session.add(
        DriftAcknowledgement(alarm=alarm, acknowledged_by=by, reason=reason.strip(), new_reference=new_reference)
    )
    session.flush()
    return alarm_shown(session, alarm)


def alarm_shown(session: Session, alarm: int) -> dict[str, Any]:
    """An alarm with the figures behind it; DriftRefused when there is none."""
    row = session.execute(text("SELECT * FROM v_drift_alarms WHERE alarm = :alarm"), {"alarm": alarm}).mappings()
    found = row.one_or_none()
    if found is None:
        raise DriftRefused(f"there is no drift alarm {alarm}; `adline drift list --all` shows all")
    measurement = session.get_one(DriftMeasurement, session.get_one(DriftAlarm, alarm).measurement)
    return {**found, "figures": measurement.figures, "reference": measurement.reference}


def alarms(session: Session, *, every: bool = False, most: int = 100) -> list[dict[str, Any]]:
    """The newest first; without `every` those that nobody acknowledged."""
    return [dict(row) for row in session.execute(ALARMS, {"every": every, "most": most}).mappings()]


def measurements(session: Session, most: int = 100) -> Sequence[DriftMeasurement]:
    """The newest first."""
    return session.scalars(select(DriftMeasurement).order_by(DriftMeasurement.id.desc()).limit(most)).all()


def retraining_paused(session: Session, recipe: str) -> str | None:
    """Why the recipe must not be retrained by itself now; None when it may.

    What a moved camera or a failing lamp shows must not be learned as how parts look.
    """
    row = session.execute(PAUSED, {"recipe": recipe}).one_or_none()
    if row is None:
        return None
    return (
        f"drift alarm {row.alarm} at {row.station}/{row.camera}: {row.sentence}; "
        f"`adline drift acknowledge {row.alarm} --reason …` ends the pause"
    )


def reference_renewed(session: Session, recipe: str) -> datetime | None:
    """When an engineer last said of a camera of the recipe that its images stay as they are now; None: nobody has."""
    found: datetime | None = session.scalar(RENEWED, {"recipe": recipe})
    return found


def parts_drifted(session: Session, recipe: str, since: datetime | None) -> str | None:
    """What drifted that is no camera's doing and nobody has seen to, since then; None when nothing did."""
    row = session.execute(DRIFTED, {"recipe": recipe, "since": since}).one_or_none()
    return f"drift alarm {row.alarm} at {row.station}/{row.camera}: {row.sentence}" if row else None

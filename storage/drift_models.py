"""The rows of drift: what frames and scores were like when a model began, what they are like now, and the alarms."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Base


class DriftReference(Base):
    """The first frames of a camera that a model version judged; later ones are compared with them. Append-only.

    after: the alarm whose acknowledgement asked for a new reference; not set: the model's first.
    """

    __tablename__ = "drift_references"
    __table_args__ = (Index(None, "station", "camera", "model_version", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"))
    camera: Mapped[str]
    recipe: Mapped[str]
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))
    after: Mapped[int | None]
    frames: Mapped[int]
    facts: Mapped[dict[str, Any]]  # numbers of each frame, and its score
    edges: Mapped[bytes]  # 256x256 bytes: where the edges are on average
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    written_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class DriftMeasurement(Base):
    """A window of frames of one camera compared with its reference. Append-only."""

    __tablename__ = "drift_measurements"
    __table_args__ = (Index(None, "station", "camera", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"))
    camera: Mapped[str]
    recipe: Mapped[str]
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))
    reference: Mapped[int] = mapped_column(ForeignKey("drift_references.id"))
    frames: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    cause: Mapped[str]  # none, lighting, focus, position, parts, mixed or unknown
    sentence: Mapped[str]
    psi: Mapped[float | None]
    ks: Mapped[float | None]
    figures: Mapped[dict[str, Any]]
    measured_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class DriftAlarm(Base):
    """A measurement that people were told of; one for each time that something changed. Append-only."""

    __tablename__ = "drift_alarms"
    __table_args__ = (Index(None, "station", "camera", "id"), Index(None, "recipe"))

    id: Mapped[int] = mapped_column(primary_key=True)
    measurement: Mapped[int] = mapped_column(ForeignKey("drift_measurements.id"), unique=True)
    station: Mapped[str]
    camera: Mapped[str]
    recipe: Mapped[str]
    cause: Mapped[str]
    pauses_retraining: Mapped[bool]  # what the images show is not the parts' doing: nothing is learned from them
    raised_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class DriftAcknowledgement(Base):
    """An engineer has seen to an alarm: who, when and how. Append-only."""

    __tablename__ = "drift_acknowledgements"

    alarm: Mapped[int] = mapped_column(ForeignKey("drift_alarms.id"), primary_key=True)
    acknowledged_by: Mapped[str]
    reason: Mapped[str]
    new_reference: Mapped[bool]  # the images stay as they are now: what comes next is compared with
    acknowledged_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

"""The rows: one class for a thing. Times are aware and in UTC; enums are stored as their values."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from storage.events import ReviewReason, TriggerSource, Verdict

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class ReviewState(StrEnum):
    """Where a review stands; the labeling queue moves it on."""

    OPEN = "open"
    RESOLVED = "resolved"


def values_of(enum: type[StrEnum]) -> Enum:
    """Store an enum as its values in a text column with a check, not as a native type."""
    return Enum(
        enum,
        values_callable=lambda members: [member.value for member in members],
        native_enum=False,
        create_constraint=True,
        length=16,
        name=enum.__name__.lower(),
    )


class Base(DeclarativeBase):
    """Shared metadata: constraint names by convention, aware timestamps, JSON as jsonb."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(String),
        int: BigInteger,
        Verdict: values_of(Verdict),
        TriggerSource: values_of(TriggerSource),
        ReviewReason: values_of(ReviewReason),
        ReviewState: values_of(ReviewState),
    }


class LineRun(Base):
    """One time the line was brought up: by which code, with which configuration, where."""

    __tablename__ = "line_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    line: Mapped[str]
    code_version: Mapped[str]
    host: Mapped[str]
    settings: Mapped[dict[str, Any]]  # passwords masked
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Station(Base):
    """A place on the line where one capture and one decision happen."""

    __tablename__ = "stations"

    name: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Recipe(Base):
    """What a station does for a product; a changed recipe is a new version, never an update."""

    __tablename__ = "recipes"
    __table_args__ = (UniqueConstraint("name", "version"), UniqueConstraint("name", "sha256"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))  # of the configuration as canonical JSON
    configuration: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ModelVersion(Base):
    """An immutable artefact with its SHA-256."""

    __tablename__ = "model_versions"

    id: Mapped[str] = mapped_column(primary_key=True)  # e.g. elpv-mono-20261123-1
    recipe: Mapped[str]
    detector: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    configuration: Mapped[dict[str, Any]]
    ok_threshold: Mapped[float]
    ng_threshold: Mapped[float]
    metrics: Mapped[dict[str, Any]]  # `gate`: the gate's report
    parent: Mapped[str | None] = mapped_column(ForeignKey("model_versions.id"))
    snapshot: Mapped[str | None]  # name of the dataset snapshot it was trained on
    training_run: Mapped[UUID | None]
    code_version: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DeploymentRequest(Base):
    """A deployment that one person asked for and another has to approve. Append-only."""

    __tablename__ = "deployment_requests"
    __table_args__ = (Index(None, "recipe", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    recipe: Mapped[str]
    alias: Mapped[str]
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))
    share: Mapped[float]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    requested_by: Mapped[str]
    reason: Mapped[str]


class DeploymentAnswer(Base):
    """What the second person said of a request; the primary key makes a second answer impossible. Append-only."""

    __tablename__ = "deployment_answers"

    request_id: Mapped[int] = mapped_column(ForeignKey("deployment_requests.id"), primary_key=True)
    approved: Mapped[bool]
    answered_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    answered_by: Mapped[str]
    reason: Mapped[str]


class Deployment(Base):
    """Which version held which alias of a recipe from when, set by whom, why. Append-only.

    share: of the parts, how many it scores; the champion all, a canary or a challenger perhaps fewer. 0 takes the
    alias from the version: from then on nobody holds it.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        Index(None, "recipe", "alias", "id"),
        CheckConstraint("alias IN ('champion', 'challenger', 'canary')", name="alias"),
        CheckConstraint("share BETWEEN 0 AND 1 AND (share = 1 OR alias <> 'champion')", name="share"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    recipe: Mapped[str]
    alias: Mapped[str]
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))
    share: Mapped[float] = mapped_column(server_default="1")
    deployed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deployed_by: Mapped[str]
    approved_by: Mapped[str | None]  # the second person, where the recipe asks for one
    request_id: Mapped[int | None] = mapped_column(ForeignKey("deployment_requests.id"))
    reason: Mapped[str]


class ModelSwap(Base):
    """When an inference worker began to score by a deployment, by the clock that dates its verdicts. Append-only."""

    __tablename__ = "model_swaps"
    __table_args__ = (Index(None, "deployment_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    deployment_id: Mapped[int] = mapped_column(ForeignKey("deployments.id"))
    worker: Mapped[str]
    swapped_at: Mapped[datetime]
    load_milliseconds: Mapped[float]


class ThresholdSetting(Base):
    """Thresholds that a person gave to a model version of a recipe, instead of its own. Append-only."""

    __tablename__ = "threshold_settings"
    __table_args__ = (
        CheckConstraint("0 <= ok_threshold AND ok_threshold <= ng_threshold AND ng_threshold <= 1", name="rising"),
        Index(None, "recipe", "model_version", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    recipe: Mapped[str]
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))
    ok_threshold: Mapped[float]
    ng_threshold: Mapped[float]
    target_false_reject_rate: Mapped[float | None]  # none: the thresholds were given
    set_at: Mapped[datetime] = mapped_column(server_default=func.now())
    set_by: Mapped[str]
    reason: Mapped[str]


class Inspection(Base):
    """One part seen once by one station."""

    __tablename__ = "inspections"
    __table_args__ = (
        Index(None, "station", "trigger_number"),
        Index(None, "run_id"),
        Index(None, "part_id"),
        Index(None, "lot"),
        Index(None, "recorded_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # made at the trigger: the idempotency key
    run_id: Mapped[UUID] = mapped_column(ForeignKey("line_runs.id"))
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"))
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipes.id"))
    part_id: Mapped[str | None]
    product: Mapped[str | None]
    lot: Mapped[str | None]
    trigger_source: Mapped[TriggerSource]
    trigger_number: Mapped[int]
    triggered_at: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Frame(Base):
    """One image of an inspection from one camera, known by the SHA-256 of the stored bytes."""

    __tablename__ = "frames"
    __table_args__ = (Index(None, "sha256"), Index(None, "md5"))

    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("inspections.id"), primary_key=True)
    camera: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    md5: Mapped[str] = mapped_column(String(32))
    size_bytes: Mapped[int]
    media_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    channels: Mapped[int]
    bit_depth: Mapped[int]
    frame_number: Mapped[int]
    hardware_timestamp_ns: Mapped[int | None]
    exposure_microseconds: Mapped[float | None]
    captured_at: Mapped[datetime]
    source: Mapped[str | None]


class Prediction(Base):
    """What one model version said of one frame, with the thresholds it was judged by. Append-only.

    That of the verdict's model version led to the verdict; others are a challenger's, and led to nothing.
    """

    __tablename__ = "predictions"
    __table_args__ = (
        ForeignKeyConstraint(["inspection_id", "camera"], ["frames.inspection_id", "frames.camera"]),
        CheckConstraint("anomaly_score BETWEEN 0 AND 1", name="anomaly_score"),
        Index(None, "model_version"),
        Index(
            "ix_predictions_shadow", "model_version", "deployment_id", postgresql_where=text("scored_at IS NOT NULL")
        ),
    )

    inspection_id: Mapped[UUID] = mapped_column(primary_key=True)
    camera: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    anomaly_score: Mapped[float]
    raw_score: Mapped[float]
    ok_threshold: Mapped[float]
    ng_threshold: Mapped[float]
    probabilities: Mapped[dict[str, Any]]
    map_sha256: Mapped[str | None] = mapped_column(String(64))
    deployment_id: Mapped[int | None] = mapped_column(ForeignKey("deployments.id"))  # by which the version scored it
    scored_at: Mapped[datetime | None]  # by a challenger; else the verdict's decided_at tells
    worker: Mapped[str | None]  # inference worker, as model_swaps names it
    projections: Mapped[list[float] | None] = mapped_column(ARRAY(REAL))  # of the frame's embedding, for drift


class InspectionVerdict(Base):
    """The one decision about an inspection. Append-only; the primary key makes a second one impossible."""

    __tablename__ = "verdicts"
    __table_args__ = (Index(None, "recorded_at"),)

    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("inspections.id"), primary_key=True)
    verdict: Mapped[Verdict]
    reason: Mapped[str]
    anomaly_score: Mapped[float | None]  # of the worst view
    model_version: Mapped[str | None] = mapped_column(ForeignKey("model_versions.id"))
    decided_at: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    stage_milliseconds: Mapped[dict[str, Any]]


OPEN = text("state = 'open'")
CLAIM_ORDERS = tuple((*by, order) for by in ((), ("station",), ("product",)) for order in ("opened_at", "margin"))
"""Claims look at open reviews alone, in each order, for each filter."""


class Review(Base):
    """A part put before operators: open until enough of them agree. Only its newest round is held here.

    free_at: from when anybody may claim it: the end of a lease, or of a skip. token: rises with each lease and each
    change, so that what was decided under an older one is known to be stale.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        *(Index(f"ix_reviews_open_{'_'.join(keys)}", *keys, postgresql_where=OPEN) for keys in CLAIM_ORDERS),
        Index("ix_reviews_open_sampled", "opened_at", postgresql_where=text("state = 'open' AND reason = 'sampled'")),
        Index(None, "station", "id"),
        Index("ix_reviews_untold", "id", postgresql_where=text("untold")),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("inspections.id"), unique=True)
    reason: Mapped[ReviewReason]
    state: Mapped[ReviewState]
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    opened_by: Mapped[str | None]  # who wants it looked at (again); not set: the line
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"))
    product: Mapped[str | None]
    # From the worst view's score to its NG threshold: the smaller, the less certain. Of a sampled part drawn at random.
    margin: Mapped[float]
    round: Mapped[int] = mapped_column(server_default="1")  # how often it was opened
    holder: Mapped[str | None]
    claimed_at: Mapped[datetime | None]
    free_at: Mapped[datetime] = mapped_column(server_default=func.now())
    token: Mapped[int] = mapped_column(server_default="0")
    answered_by: Mapped[list[str]] = mapped_column(server_default="{}")  # in this round: they are not asked again
    label_id: Mapped[UUID | None] = mapped_column(ForeignKey("labels.id", use_alter=True))  # the one in force
    untold: Mapped[bool] = mapped_column(server_default="false")  # resolved, and nobody was told yet

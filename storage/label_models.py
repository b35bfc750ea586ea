"""The rows that people's decisions become: append-only, but for what a person wants to be asked."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Base, values_of


class Decision(StrEnum):
    """What a person says of a part; a withdrawn decision stays on record beneath the row that withdraws it."""

    NORMAL = "normal"
    ANOMALY = "anomaly"
    CANNOT_TELL = "cannot_tell"
    WITHDRAWN = "withdrawn"


class LabelSource(StrEnum):
    """How a label came about."""

    OPERATOR = "operator"
    IMPORT = "import"


class RegionKind(StrEnum):
    """How a region is drawn."""

    BOX = "box"
    POLYGON = "polygon"
    MASK = "mask"


class Severity(StrEnum):
    """How bad a defect is for who uses the part."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


class Label(Base):
    """One person's decision about one part, under one lease. A later one supersedes, none is changed."""

    __tablename__ = "labels"
    __table_args__ = (
        UniqueConstraint("review_id", "token"),  # one lease, one decision
        Index(None, "inspection_id"),
        Index(None, "decided_at"),
        Index(None, "supersedes"),
        Index("ix_labels_second", "review_id", "round", postgresql_where=text("opinion = 2")),
        CheckConstraint("supersedes IS NOT NULL OR decision <> 'withdrawn'", name="withdrawn"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    review_id: Mapped[UUID] = mapped_column(ForeignKey("reviews.id"))
    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("inspections.id"))
    round: Mapped[int]
    opinion: Mapped[int]  # the first, the blind second, or the third that decides
    decision: Mapped[Decision] = mapped_column(values_of(Decision))
    defects: Mapped[list[str]]  # classes of the defect book, the most important first
    note: Mapped[str]
    source: Mapped[LabelSource] = mapped_column(values_of(LabelSource))
    decided_by: Mapped[str]
    decided_at: Mapped[datetime]
    took_milliseconds: Mapped[int | None]
    token: Mapped[int]  # of the lease it was decided under
    lease_until: Mapped[datetime]
    supersedes: Mapped[UUID | None] = mapped_column(ForeignKey("labels.id"))


class Region(Base):
    """Where on a frame a label sees a defect, in pixels of the stored image."""

    __tablename__ = "regions"
    __table_args__ = (
        ForeignKeyConstraint(["inspection_id", "camera"], ["frames.inspection_id", "frames.camera"]),
        CheckConstraint("(kind = 'mask') = (mask_sha256 IS NOT NULL)", name="mask"),
        CheckConstraint("(kind = 'mask') = (points IS NULL)", name="points"),
    )

    label_id: Mapped[UUID] = mapped_column(ForeignKey("labels.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    inspection_id: Mapped[UUID]
    camera: Mapped[str]
    kind: Mapped[RegionKind] = mapped_column(values_of(RegionKind))
    defect: Mapped[str | None]
    # [[x, y], ...]: the corners of a polygon, or the two opposite ones of a box
    points: Mapped[list[list[float]] | None] = mapped_column(JSONB(none_as_null=True))
    mask_sha256: Mapped[str | None] = mapped_column(String(64))  # a PNG of the frame's size: 255 where defective


class Look(Base):
    """What a part under review looks like to a model, where there is no pgvector to keep it in."""

    __tablename__ = "looks"

    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("inspections.id"), primary_key=True)
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))
    embedding: Mapped[bytes]  # float32, little endian


class DefectClass(Base):
    """An entry of the defect book in one version; the highest version is the one that holds."""

    __tablename__ = "defect_classes"

    __table_args__ = (UniqueConstraint("name", "version"),)

    number: Mapped[int] = mapped_column(primary_key=True)  # in the order of writing
    name: Mapped[str]
    version: Mapped[int]
    definition: Mapped[str]
    severity: Mapped[Severity] = mapped_column(values_of(Severity))
    examples: Mapped[list[str]]  # SHA-256 of stored images
    retired: Mapped[bool] = mapped_column(server_default="false")
    written_by: Mapped[str]
    written_at: Mapped[datetime] = mapped_column(server_default=func.now())


class QueueFilter(Base):
    """What a person wants to be asked, remembered until said otherwise."""

    __tablename__ = "queue_filters"

    person: Mapped[str] = mapped_column(primary_key=True)
    station: Mapped[str | None]
    product: Mapped[str | None]
    policy: Mapped[str | None]

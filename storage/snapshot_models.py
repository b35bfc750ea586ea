"""The rows of dataset snapshots: which images a model may learn from and be judged on, and which were set aside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Base, values_of


class Split(StrEnum):
    """What an image of a snapshot is for. Test is the protected pool; challenge parts are judged and never learned."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    CHALLENGE = "challenge"


class ItemSource(StrEnum):
    """Why an image's truth is believed: a person decided it, or the recipe is taught from it as known-good."""

    OPERATOR = "operator"
    TAUGHT = "taught"


class AsideReason(StrEnum):
    """Why an image is put before an engineer."""

    DISAGREEMENT = "disagreement"
    CONTRADICTION = "contradiction"
    OTHER_VIEW = "other_view"
    BLURRED = "blurred"
    MISEXPOSED = "misexposed"
    UNREADABLE = "unreadable"
    NEAR_DUPLICATE = "near_duplicate"
    UNLIKE_ALIKE = "unlike_alike"
    OPERATOR_SHIFT = "operator_shift"


class DatasetSnapshot(Base):
    """An immutable, hashed version of labels, images, masks and splits of one recipe. Append-only."""

    __tablename__ = "dataset_snapshots"
    __table_args__ = (Index(None, "recipe", "created_at"),)

    name: Mapped[str] = mapped_column(primary_key=True)  # <YYYYMMDD>_V<n>_<description>, or as a person named it
    recipe: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))  # of the manifest as canonical JSON
    description: Mapped[str]
    parent: Mapped[str | None]  # the recipe's snapshot before it; an imported one's may be unknown here
    seed: Mapped[int]
    policy: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    unfit: Mapped[str | None]  # why no model may be trained from it; not set: one may
    code_version: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    created_by: Mapped[str]


class SnapshotItem(Base):
    """One image of a snapshot with its truth as it was then. Append-only.

    Inspection and label are named without a foreign key: a snapshot may come from another plant's records.
    """

    __tablename__ = "snapshot_items"
    __table_args__ = (Index(None, "sha256"), Index(None, "part_key"), Index(None, "label_id"))

    snapshot: Mapped[str] = mapped_column(ForeignKey("dataset_snapshots.name"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    md5: Mapped[str] = mapped_column(String(32))
    size_bytes: Mapped[int]
    media_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    camera: Mapped[str | None]
    inspection_id: Mapped[UUID | None]
    part_key: Mapped[str]  # images of one part have the same
    part_id: Mapped[str | None]
    lot: Mapped[str | None]
    split: Mapped[Split] = mapped_column(values_of(Split))
    is_anomaly: Mapped[bool]
    defects: Mapped[list[str]]
    # [{number, kind, defect, points, mask_sha256, mask_md5}, ...]: of this image alone, in its pixels
    regions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    source: Mapped[ItemSource] = mapped_column(values_of(ItemSource))
    label_id: Mapped[UUID | None]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]


class SetAside(Base):
    """An image that a snapshot puts before an engineer, for one reason. Append-only.

    used: it stays in the protected pool all the same, because leaving out hard parts would flatter every model.
    """

    __tablename__ = "set_aside"
    __table_args__ = (Index(None, "sha256"),)

    snapshot: Mapped[str] = mapped_column(ForeignKey("dataset_snapshots.name"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    reason: Mapped[AsideReason] = mapped_column(values_of(AsideReason), primary_key=True)
    part_key: Mapped[str]
    is_anomaly: Mapped[bool | None]
    label_id: Mapped[UUID | None]
    decided_by: Mapped[str | None]
    detail: Mapped[str]
    used: Mapped[bool]


class Release(Base):
    """An engineer's word that an image set aside may be used with the label it has. Append-only."""

    __tablename__ = "set_aside_releases"
    __table_args__ = (Index(None, "recipe", "sha256"),)

    number: Mapped[int] = mapped_column(primary_key=True)
    recipe: Mapped[str]
    snapshot: Mapped[str] = mapped_column(ForeignKey("dataset_snapshots.name"))
    sha256: Mapped[str] = mapped_column(String(64))
    label_id: Mapped[UUID | None]  # another label on the same image is not released
    released_by: Mapped[str]
    released_at: Mapped[datetime] = mapped_column(server_default=func.now())
    reason: Mapped[str]


class PoolPart(Base):
    """A part of a recipe's protected test pool: no training ever sees it, and it never leaves. Append-only.

    part_key: `part:<part_id>` or `image:<sha256>`; a part that is known by several has several rows.
    """

    __tablename__ = "pool_parts"

    recipe: Mapped[str] = mapped_column(primary_key=True)
    part_key: Mapped[str] = mapped_column(primary_key=True)
    snapshot: Mapped[str] = mapped_column(ForeignKey("dataset_snapshots.name"))
    joined_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ChallengePart(Base):
    """A part that every model is judged on and none is taught from. Append-only."""

    __tablename__ = "challenge_parts"

    recipe: Mapped[str] = mapped_column(primary_key=True)
    part_key: Mapped[str] = mapped_column(primary_key=True)
    added_at: Mapped[datetime] = mapped_column(server_default=func.now())
    added_by: Mapped[str]
    reason: Mapped[str]


class ImageLook(Base):
    """What was measured of an image once, so that the next snapshot need not open it again: nothing but a cache."""

    __tablename__ = "image_looks"
    __table_args__ = (CheckConstraint("(problem IS NULL) = (embedding IS NOT NULL)", name="measured"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)  # of measuring; another one measures anew
    sharpness: Mapped[float | None]
    brightness: Mapped[float | None]
    clipped: Mapped[float | None]
    perceptual_hash: Mapped[str | None] = mapped_column(String(16))
    embedding: Mapped[bytes | None]  # float32, little-endian
    problem: Mapped[str | None]  # why it could not be measured

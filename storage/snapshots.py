"""Dataset snapshots on record: written once, never changed. Functions take a session and never commit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Table, insert, select, text
from sqlalchemy.orm import Session

from storage.errors import SnapshotRefused, SnapshotUnknown
from storage.snapshot_models import (
    AsideReason,
    ChallengePart,
    DatasetSnapshot,
    PoolPart,
    Release,
    SetAside,
    SnapshotItem,
    Split,
)

LOCK: Final = 0xAD120  # advisory lock: what is split and what is protected is decided by one program at a time
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PART, IMAGE = "part:", "image:"

# Every recorded view of the recipe's parts that people decided, with the label in force and what each person said last.
LABELLED = text(
    """
    SELECT f.sha256, f.md5, f.size_bytes, f.media_type, f.width, f.height, f.camera, i.id AS inspection_id,
           i.part_id, i.lot, r.label_id, l.decision, l.defects, l.decided_by, l.decided_at,
           (SELECT p.anomaly_score FROM predictions p WHERE p.inspection_id = i.id AND p.camera = f.camera
            ORDER BY p.model_version LIMIT 1) AS anomaly_score,
           (SELECT json_agg(json_build_object('person', o.decided_by, 'decision', o.decision) ORDER BY o.id)
            FROM labels o WHERE o.inspection_id = i.id AND o.decision <> 'withdrawn'
                AND NOT EXISTS (SELECT FROM labels w WHERE w.supersedes = o.id AND w.decision = 'withdrawn')) AS said,
           (SELECT json_agg(json_build_object('number', g.number, 'kind', g.kind, 'defect', g.defect,
                'points', g.points, 'mask_sha256', g.mask_sha256, 'camera', g.camera) ORDER BY g.number)
            FROM regions g WHERE g.label_id = l.id) AS regions
    FROM reviews r JOIN labels l ON l.id = r.label_id
    JOIN inspections i ON i.id = r.inspection_id
    JOIN recipes c ON c.id = i.recipe_id AND c.name = :recipe
    JOIN frames f ON f.inspection_id = i.id
    ORDER BY r.label_id, f.camera
    """
)
TRAINED = text(
    """
    SELECT i.part_key FROM snapshot_items i JOIN dataset_snapshots s ON s.name = i.snapshot
    WHERE s.recipe = :recipe AND i.split IN ('train', 'validation')
    UNION
    SELECT 'image:' || i.sha256 FROM snapshot_items i JOIN dataset_snapshots s ON s.name = i.snapshot
    WHERE s.recipe = :recipe AND i.split IN ('train', 'validation')
    """
)
RECIPES = text(
    "SELECT DISTINCT c.name FROM reviews r JOIN inspections i ON i.id = r.inspection_id "
    "JOIN recipes c ON c.id = i.recipe_id WHERE r.label_id IS NOT NULL ORDER BY c.name"
)
ASIDE = text("SELECT * FROM v_set_aside WHERE snapshot = :snapshot ORDER BY reason, sha256")


def hold(session: Session) -> None:
    """Wait until nobody else decides what is split and protected; until the end of the transaction."""
    session.execute(text("SET LOCAL lock_timeout = 0"))  # a snapshot of many labels takes its time
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


# What is on record


def find(session: Session, name: str) -> DatasetSnapshot:
    """The snapshot of this name; SnapshotUnknown when there is none."""
    found = session.get(DatasetSnapshot, name)
    if found is None:
        raise SnapshotUnknown(name)
    return found


def listed(session: Session, recipe: str | None = None) -> list[DatasetSnapshot]:
    """The oldest first."""
    query = select(DatasetSnapshot).order_by(DatasetSnapshot.created_at, DatasetSnapshot.name)
    return list(session.scalars(query if recipe is None else query.where(DatasetSnapshot.recipe == recipe)))


def latest(session: Session, recipe: str, *, fit: bool = False) -> DatasetSnapshot | None:
    """The recipe's newest snapshot; with fit, the newest one a model may be trained from."""
    query = select(DatasetSnapshot).where(DatasetSnapshot.recipe == recipe)
    if fit:
        query = query.where(DatasetSnapshot.unfit.is_(None))
    return session.scalar(query.order_by(DatasetSnapshot.created_at.desc()).limit(1))


def items(session: Session, name: str, *splits: Split) -> list[SnapshotItem]:
    """The images of a snapshot, of these splits or of all, in the order of their SHA-256."""
    query = select(SnapshotItem).where(SnapshotItem.snapshot == name).order_by(SnapshotItem.sha256)
    return list(session.scalars(query.where(SnapshotItem.split.in_(splits)) if splits else query))


def frames(session: Session, name: str) -> set[str]:
    """SHA-256s of all its images."""
    find(session, name)
    return set(session.scalars(select(SnapshotItem.sha256).where(SnapshotItem.snapshot == name)))


def aside(session: Session, name: str) -> list[SetAside]:
    """What a snapshot put before an engineer."""
    query = select(SetAside).where(SetAside.snapshot == name).order_by(SetAside.sha256, SetAside.reason)
    return list(session.scalars(query))


def aside_shown(session: Session, name: str) -> list[dict[str, Any]]:
    """The same as the auditor sees it, with who released it."""
    return [dict(row) for row in session.execute(ASIDE, {"snapshot": name}).mappings()]


def pool(session: Session, recipe: str) -> set[str]:
    """The keys of every part of the recipe's protected test pool."""
    return set(session.scalars(select(PoolPart.part_key).where(PoolPart.recipe == recipe)))


def challenge(session: Session, recipe: str | None = None) -> list[ChallengePart]:
    """The parts that every model is judged on and none is taught from, in the order of adding."""
    query = select(ChallengePart).order_by(ChallengePart.added_at, ChallengePart.part_key)
    return list(session.scalars(query if recipe is None else query.where(ChallengePart.recipe == recipe)))


def trained(session: Session, recipe: str) -> set[str]:
    """The keys of every part that was ever in the recipe's training data, its images' keys included."""
    return set(session.scalars(TRAINED, {"recipe": recipe}))


def labelled(session: Session, recipe: str) -> list[dict[str, Any]]:
    """Each recorded view of each of the recipe's parts that people decided; the oldest label first."""
    return [dict(row) for row in session.execute(LABELLED, {"recipe": recipe}).mappings()]


def labelled_recipes(session: Session) -> list[str]:
    return list(session.scalars(RECIPES))


def releases(session: Session, recipe: str) -> set[tuple[str, UUID | None]]:
    """What engineers released: images with the label they had then."""
    found = session.execute(select(Release.sha256, Release.label_id).where(Release.recipe == recipe))
    return {(sha256, label_id) for sha256, label_id in found}


def is_recorded(session: Session, part_key: str) -> bool:
    """Whether an inspection saw this part."""
    kind, _, name = part_key.partition(":")
    query = "frames WHERE sha256 = :name" if f"{kind}:" == IMAGE else "inspections WHERE part_id = :name"
    return bool(session.scalar(text(f"SELECT EXISTS (SELECT FROM {query})"), {"name": name}))


def is_named(session: Session, sha256: str) -> bool:
    """Whether a snapshot names this image or mask: then no retention may remove it."""
    return bool(
        session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM snapshot_items WHERE sha256 = :sha256) OR EXISTS (SELECT FROM "
                "snapshot_items WHERE regions @> jsonb_build_array(jsonb_build_object('mask_sha256', CAST(:sha256 AS "
                "text))))"
            ),
            {"sha256": sha256},
        )
    )


# What goes on record


def next_name(session: Session, day: datetime, description: str) -> str:
    """<YYYYMMDD>_V<n>_<description>, n being the first that this day has not used."""
    date = f"{day:%Y%m%d}"
    names = session.scalars(select(DatasetSnapshot.name).where(DatasetSnapshot.name.startswith(f"{date}_V")))
    used = [int(found[1]) for name in names if (found := re.match(r"\d{8}_V(\d+)(?:_|$)", name))]
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", description).strip("-.")[:60]
    return "_".join(filter(None, (date, f"V{1 + max(used, default=0)}", slug)))


def check_name(session: Session, name: str) -> None:
    """SnapshotRefused when no new snapshot can have this name."""
    if not NAME.fullmatch(name):
        raise SnapshotRefused(
            f"snapshot name {name!r}: allowed are at most 100 letters, digits and . _ -, the first no sign"
        )
    if session.get(DatasetSnapshot, name) is not None:
        raise SnapshotRefused(f"there is a snapshot {name!r} already; snapshots are never changed: choose another name")


def write(
    session: Session,
    snapshot: DatasetSnapshot,
    images: Sequence[SnapshotItem],
    asides: Sequence[SetAside],
    pool_keys: Iterable[str],
) -> None:
    """Put a snapshot on record; its pool parts join before its images, so that the database can see to the rest."""
    session.add(snapshot)
    session.flush()
    known = pool(session, snapshot.recipe)
    joining = [
        {"recipe": snapshot.recipe, "part_key": key, "snapshot": snapshot.name}
        for key in sorted(set(pool_keys) - known)
    ]
    if joining:
        session.execute(insert(cast(Table, PoolPart.__table__)), joining)
    session.add_all([*images, *asides])
    session.flush()


def release(session: Session, snapshot: str, sha256: str, by: str, reason: str) -> list[AsideReason]:
    """Let the next snapshot use an image with the label it had; what it had been set aside for."""
    found = [row for row in aside(session, find(session, snapshot).name) if row.sha256.startswith(sha256)]
    images = {row.sha256 for row in found}
    if len(images) != 1 or not sha256:
        what = "is set aside" if not images else "begins the names of several images set aside"
        raise SnapshotRefused(
            f"{sha256!r} {'is not set aside' if not images else what} in {snapshot}; "
            f"`adline dataset set-aside list {snapshot}` shows what is"
        )
    first = found[0]
    session.add(
        Release(
            recipe=find(session, snapshot).recipe,
            snapshot=snapshot,
            sha256=first.sha256,
            label_id=first.label_id,
            released_by=by,
            reason=reason,
        )
    )
    session.flush()
    return [row.reason for row in found]


def add_challenge(session: Session, recipe: str, part_key: str, by: str, reason: str) -> ChallengePart:
    """From now on no training of the recipe sees this part; refused when one has."""
    hold(session)
    if session.get(ChallengePart, (recipe, part_key)) is not None:
        raise SnapshotRefused(f"{part_key} is a challenge part of {recipe} already")
    if part_key in trained(session, recipe):
        raise SnapshotRefused(
            f"{part_key} is in the training data of a snapshot of {recipe}: models have seen it, it challenges none"
        )
    if part_key in pool(session, recipe):
        raise SnapshotRefused(f"{part_key} is in the protected test pool of {recipe} already: no training sees it")
    found = ChallengePart(recipe=recipe, part_key=part_key, added_by=by, reason=reason)
    session.add(found)
    session.flush()
    session.refresh(found)
    return found

"""Snapshots out to a folder that any program reads, and in from one, checked to the last byte.

The folder has the MVTec layout with a meta.json that lists the masks of training images, too; manifest.json is the
snapshot itself. Validation counts as train for other programs, and challenge as test.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from storage import snapshots
from storage.errors import AdlineError, FileInTheWay, SnapshotRefused
from storage.image_store import ImageStore
from storage.images import describe, encode
from storage.snapshot_models import AsideReason, DatasetSnapshot, ItemSource, SetAside, SnapshotItem, Split
from storage.snapshots import IMAGE
from workers.datasets import groups, meta
from workers.datasets.files import Place, json_object, relative
from workers.datasets.sample import GOOD, UNNAMED_DEFECT, Sample
from workers.snapshots.manifest import ABOUT, FORMAT, manifest, sha256_of
from workers.snapshots.mask import mask_of
from workers.snapshots.verify import masks_of

MANIFEST: Final = "manifest.json"
REGIONS: Final = "regions"
LEARNED: Final = (Split.TRAIN, Split.VALIDATION)


def export(session: Session, store: ImageStore, name: str, out: Path) -> int:
    """Write the folder, whole or not at all; how many images it has. An altered or lost image stops it."""
    if out.exists():
        raise FileInTheWay(out, f"{out} is already there; name a folder that is not")
    snapshot = snapshots.find(session, name)
    items = snapshots.items(session, name)
    asides = snapshots.aside(session, name)
    with whole(out) as partial:
        samples = [write_item(store, item, partial) for item in items]
        for sha256, _ in sorted(masks_of(items)):
            put(partial / REGIONS / store.path(sha256).name, store.get(sha256))
        meta.write(partial, samples)
        groups.write(partial, samples)
        told = {
            "sha256": snapshot.sha256,
            "created_at": snapshot.created_at.isoformat(),
            "created_by": snapshot.created_by,
            "code_version": snapshot.code_version,
            "files": {item.sha256: sample.path for item, sample in zip(items, samples, strict=True)},
            "masks": {sha256: f"{REGIONS}/{store.path(sha256).name}" for sha256, _ in sorted(masks_of(items))},
            "manifest": manifest(snapshot, items, asides),
        }
        put(partial / MANIFEST, json.dumps(told, indent=1, ensure_ascii=False).encode())
    return len(items)


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by an export that was interrupted
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_item(store: ImageStore, item: SnapshotItem, folder: Path) -> Sample:
    split = "train" if item.split in LEARNED else "test"
    defect = (item.defects[0] if item.defects else UNNAMED_DEFECT) if item.is_anomaly else None
    place = f"{split}/{defect or GOOD}/{store.path(item.sha256).name}"
    put(folder / place, store.get(item.sha256))
    drawn, mask = (mask_of(store, item) if item.is_anomaly else None), None
    if drawn is not None:
        mask = f"{'ground_truth' if split == 'test' else 'train_masks'}/{defect}/{item.sha256}_mask.png"
        put(folder / mask, encode((drawn * 255).astype("uint8"), "png"))
    return Sample(
        path=place,
        split="train" if split == "train" else "test",
        is_anomaly=item.is_anomaly,
        defect=defect,
        mask=mask,
        group=item.part_key,
    )


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def bring_in(session: Session, store: ImageStore, folder: Path, by: str) -> DatasetSnapshot:
    """Put an exported snapshot on record under its own name; SnapshotRefused names everything that is wrong with it."""
    file = folder / MANIFEST
    told = json_object(file)
    content = told.get("manifest")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise SnapshotRefused(f"{file}: not the manifest of a snapshot ({FORMAT})")
    found = sha256_of(content)
    if found != told.get("sha256"):
        raise SnapshotRefused(
            f"{file}: the manifest was changed; its SHA-256 is {found}, given is {told.get('sha256')}"
        )
    snapshots.hold(session)
    try:
        snapshot = DatasetSnapshot(
            **{name: content[name] for name in ABOUT},
            sha256=found,
            code_version=str(told["code_version"]),
            created_by=by,
        )
        items = [SnapshotItem(**item_of(snapshot.name, one)) for one in content["items"]]
        asides = [SetAside(**aside_of(snapshot.name, one)) for one in content["set_aside"]]
        files = told["files"] | told["masks"]
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotRefused(f"{file}: {type(error).__name__}: {error}") from error
    snapshots.check_name(session, snapshot.name)
    refuse_clash(session, snapshot.recipe, items)
    take_files(store, folder, files, {(item.sha256, item.md5) for item in items} | masks_of(items))
    for key in sorted(
        keys_of(items, Split.CHALLENGE) - {part.part_key for part in snapshots.challenge(session, snapshot.recipe)}
    ):
        snapshots.add_challenge(session, snapshot.recipe, key, by, f"came with snapshot {snapshot.name}")
    snapshots.write(session, snapshot, items, asides, keys_of(items, Split.TEST))
    session.refresh(snapshot)
    return snapshot


def item_of(snapshot: str, one: dict[str, Any]) -> dict[str, Any]:
    ids = {name: UUID(one[name]) if one[name] else None for name in ("inspection_id", "label_id")}
    when = datetime.fromisoformat(one["decided_at"]) if one["decided_at"] else None
    enums = {"split": Split(one["split"]), "source": ItemSource(one["source"])}
    return one | ids | enums | {"snapshot": snapshot, "decided_at": when}


def aside_of(snapshot: str, one: dict[str, Any]) -> dict[str, Any]:
    label_id = UUID(one["label_id"]) if one["label_id"] else None
    return one | {"snapshot": snapshot, "label_id": label_id, "reason": AsideReason(one["reason"])}


def keys_of(items: list[SnapshotItem], *splits: Split) -> set[str]:
    chosen = [item for item in items if item.split in splits]
    return {key for item in chosen for key in (item.part_key, IMAGE + item.sha256)}


def refuse_clash(session: Session, recipe: str, items: list[SnapshotItem]) -> None:
    """What is judged there must not be learned from here, nor the other way round."""
    protected = snapshots.pool(session, recipe) | {part.part_key for part in snapshots.challenge(session, recipe)}
    for told, keys, here in (
        ("to learn from are protected here", keys_of(items, *LEARNED), protected),
        (
            "to judge on were learned from here",
            keys_of(items, Split.TEST, Split.CHALLENGE),
            snapshots.trained(session, recipe),
        ),
    ):
        if both := sorted(keys & here):
            raise SnapshotRefused(f"{len(both)} parts and images it has {told}, such as {', '.join(both[:3])}")


def take_files(store: ImageStore, folder: Path, files: dict[str, str], wanted: set[tuple[str, str]]) -> None:
    """Into the store what is as the manifest says; everything that is not is named at once."""
    problems = []
    for sha256, md5 in sorted(wanted):
        try:
            path = folder / relative(files.get(sha256), Place(folder / MANIFEST), f"files.{sha256}")
            data = path.read_bytes()
            found = hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()
            if found != (sha256, md5):
                problems.append(f"{path}: SHA-256 and MD5 are {' and '.join(found)}, must be {sha256} and {md5}")
                continue
            store.put(data, describe(data).suffix)
        except OSError as error:
            problems.append(f"{folder / str(files.get(sha256))}: {error.strerror}")
        except AdlineError as error:
            problems.append(str(error))
    if problems:
        raise SnapshotRefused("\n".join(problems))
    store.make_durable(sha256 for sha256, _ in wanted)

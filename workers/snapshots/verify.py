"""Whether a snapshot is still what it was: every image, every mask, and the list of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from storage import snapshots
from storage.errors import ImageMissing
from storage.image_store import ImageStore
from storage.snapshot_models import SnapshotItem
from workers.snapshots.manifest import manifest, sha256_of

Wanted = tuple[str, str]
"""SHA-256 and MD5."""


@dataclass(frozen=True)
class Problem:
    """file: the image's or mask's place, or `manifest`."""

    file: str
    what: str
    wanted: str
    found: str | None

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; recorded {self.wanted}, found {self.found or 'nothing'}"


@dataclass(frozen=True)
class Verified:
    """How many files were read, and what is wrong."""

    snapshot: str
    sha256: str
    images: int
    masks: int
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(session: Session, store: ImageStore, name: str) -> Verified:
    """Read every file anew; SnapshotUnknown when there is none of this name."""
    snapshot = snapshots.find(session, name)
    items = snapshots.items(session, name)
    found = sha256_of(manifest(snapshot, items, snapshots.aside(session, name)))
    problems = [] if found == snapshot.sha256 else [Problem("manifest", "changed", snapshot.sha256, found)]
    images, masks = {(item.sha256, item.md5) for item in items}, masks_of(items)
    problems += checked(store, images, "image") + checked(store, masks, "mask")
    return Verified(name, snapshot.sha256, len(images), len(masks), problems)


def masks_of(items: Iterable[SnapshotItem]) -> set[Wanted]:
    regions: list[dict[str, Any]] = [region for item in items for region in item.regions]
    return {(region["mask_sha256"], region["mask_md5"]) for region in regions if region["mask_sha256"]}


def checked(store: ImageStore, files: Iterable[Wanted], kind: str) -> list[Problem]:
    problems = []
    for sha256, md5 in sorted(files):
        try:
            path = store.path(sha256)
            data = path.read_bytes()
        except (ImageMissing, FileNotFoundError):
            problems.append(
                Problem(str(store.root / "sha256" / sha256[:2] / sha256[2:4] / sha256), f"{kind} missing", sha256, None)
            )
            continue
        except OSError as error:
            problems.append(Problem(str(path), f"{kind} cannot be read: {error.strerror}", sha256, None))
            continue
        problems += differences(str(path), kind, data, sha256, md5)
    return problems


def differences(file: str, kind: str, data: bytes, sha256: str, md5: str) -> list[Problem]:
    hashes: list[tuple[str, str, Callable[[bytes], Any]]] = [
        ("SHA-256", sha256, hashlib.sha256),
        ("MD5", md5, lambda data: hashlib.md5(data, usedforsecurity=False)),
    ]
    return [
        Problem(file, f"{kind} changed: another {name}", wanted, found)
        for name, wanted, hash in hashes
        if (found := hash(data).hexdigest()) != wanted
    ]

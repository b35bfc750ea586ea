"""A snapshot as one JSON object, and the SHA-256 that stands for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from storage.snapshot_models import DatasetSnapshot, SetAside, SnapshotItem

FORMAT: Final = "adline-snapshot-1"
ABOUT: Final = ("name", "recipe", "description", "parent", "seed", "policy", "counts", "unfit")
"""Who made it and when is on record and not part of what it is."""


def manifest(snapshot: DatasetSnapshot, items: Sequence[SnapshotItem], asides: Sequence[SetAside]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **{name: getattr(snapshot, name) for name in ABOUT},
        "items": [shown(item) for item in sorted(items, key=lambda item: item.sha256)],
        "set_aside": [shown(one) for one in sorted(asides, key=lambda one: (one.sha256, one.reason))],
    }


def shown(row: SnapshotItem | SetAside) -> dict[str, Any]:
    names = (column.name for column in row.__table__.columns)
    return {name: plain(getattr(row, name)) for name in names if name != "snapshot"}


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if value is None or isinstance(value, bool | int | float | list | dict) else str(value)


def canonical(content: dict[str, Any]) -> bytes:
    """The same content gives the same bytes, whatever the order of its keys."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()

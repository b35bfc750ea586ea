"""The images whose truth is known: what people decided of the recipe's parts, and what the recipe is taught from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from storage.errors import AdlineError, TeachingFailed
from storage.image_store import ImageStore
from storage.images import describe
from storage.label_models import Decision
from storage.snapshot_models import ItemSource
from workers.snapshots.row import Look, Row


@dataclass(frozen=True)
class Gathered:
    """cannot_tell: images of which the person in force could not tell."""

    rows: list[Row]
    cannot_tell: int


def gathered(labelled: Sequence[dict[str, Any]], taught: Sequence[Row]) -> Gathered:
    """One row for an image, however often it was seen. labelled: as storage.snapshots gives it, the oldest first."""
    seen: dict[str, list[dict[str, Any]]] = {}
    for view in labelled:
        seen.setdefault(view["sha256"], []).append(view)
    rows = {row.sha256: row for row in taught}
    cannot_tell = 0
    for sha256, views in seen.items():
        if views[-1]["decision"] == Decision.CANNOT_TELL:
            cannot_tell += 1
            continue
        row = decided(views)
        known = rows.get(sha256)
        # Known-good twice over: it stays what the recipe is taught from, and keeps the label.
        rows[sha256] = row if known is None else replace(row, source=ItemSource.TAUGHT, group=known.group)
    return Gathered(sorted(rows.values(), key=lambda row: row.sha256), cannot_tell)


def decided(views: Sequence[dict[str, Any]]) -> Row:
    """Of an image that several inspections saw; the newest label holds."""
    newest = views[-1]
    regions = newest["regions"] or []
    here = [region for region in regions if region["camera"] == newest["camera"]]
    return Row(
        **{name: newest[name] for name in ("sha256", "md5", "size_bytes", "media_type", "width", "height", "camera")},
        **{name: newest[name] for name in ("inspection_id", "label_id", "decided_by", "decided_at", "anomaly_score")},
        source=ItemSource.OPERATOR,
        is_anomaly=newest["decision"] == Decision.ANOMALY,
        part_ids=tuple(dict.fromkeys(view["part_id"] for view in views if view["part_id"])),
        lots=tuple(dict.fromkeys(view["lot"] for view in views if view["lot"])),
        defects=tuple(newest["defects"]),
        regions=tuple({name: value for name, value in region.items() if name != "camera"} for region in here),
        said=opinions(views),
        marked_elsewhere=bool(regions) and not here,
    )


def opinions(views: Sequence[dict[str, Any]]) -> tuple[tuple[str, bool], ...]:
    """What each person said last, of those who could tell."""
    last: dict[str, str] = {}
    for view in views:
        for opinion in view["said"] or []:
            last.pop(opinion["person"], None)
            last[opinion["person"]] = opinion["decision"]
    return tuple((person, said == Decision.ANOMALY) for person, said in last.items() if said != Decision.CANNOT_TELL)


def taught_rows(store: ImageStore, images: Sequence[Path], groups: Sequence[str] | None) -> list[Row]:
    """The known-good images, stored like any other, so that the snapshot is whole without the folder they came from."""
    rows = []
    for number, path in enumerate(images):
        try:
            data = path.read_bytes()
            facts = describe(data)
        except OSError as error:
            raise TeachingFailed(f"{path}: {error.strerror}") from error
        except AdlineError as error:
            raise TeachingFailed(f"{path}: {error}") from error
        stored = store.put(data, facts.suffix)
        rows.append(
            Row(
                sha256=stored.sha256,
                md5=stored.md5,
                size_bytes=stored.size_bytes,
                media_type=facts.media_type,
                width=facts.width,
                height=facts.height,
                source=ItemSource.TAUGHT,
                is_anomaly=False,
                group=groups[number] if groups is not None else None,
            )
        )
    return rows


def with_masks(store: ImageStore, row: Row) -> Row:
    """Each mask with the MD5 of its bytes; an image whose mask is lost is not used."""
    try:
        regions = [
            region | {"mask_md5": hashlib.md5(store.get(region["mask_sha256"]), usedforsecurity=False).hexdigest()}
            if region["mask_sha256"]
            else region | {"mask_md5": None}
            for region in row.regions
        ]
    except AdlineError as error:
        return replace(row, problem=f"mask: {error}")
    return replace(row, regions=tuple(regions))


def with_look(row: Row, look: Look | str) -> Row:
    return replace(row, problem=row.problem or look) if isinstance(look, str) else replace(row, look=look)

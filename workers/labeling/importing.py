"""Labels that were made elsewhere, row by row: what fits a recorded part is put on record, the rest is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError

from storage import labeled_images
from storage.errors import ResolutionRefused, ReviewStale
from storage.images import ImageStore
from storage.label_models import Decision
from storage.labeled_images import SeenImage
from storage.resolution import RegionFacts, Resolution
from workers.labeling.image_label import ImageLabel, Refusal, Shape, of_row
from workers.labeling.queue import Queue


@dataclass(frozen=True)
class Imported:
    """What became of the rows: of how many parts a label was recorded, or was on record already; what was refused."""

    recorded: int
    unchanged: int
    refused: list[Refusal]


def export_labels(queue: Queue) -> list[ImageLabel]:
    """The labels in force, by image."""
    with queue.database.begin() as session:
        rows = labeled_images.in_force(session)
    return [of_row(queue.store, row) for row in rows]


def import_labels(queue: Queue, person: str, rows: Iterable[ImageLabel | Refusal]) -> Imported:
    """Each part for itself; several views of one part are one decision."""
    refused, labels = [], []
    for row in rows:
        refused.append(row) if isinstance(row, Refusal) else labels.append(row)
    with queue.database.begin() as session:
        seen = labeled_images.seen(session, [label.sha256 for label in labels])
    known = {label.sha256: label for label in export_labels(queue)}
    parts: dict[UUID, list[ImageLabel]] = {}
    unchanged = 0
    for label in labels:
        image = seen.get(label.sha256)
        if image is None:
            refused.append(Refusal(label.sha256, "no inspection on record saw this image"))
        elif label.width and (label.width, label.height) != (image.width, image.height):
            size = f"{label.width}x{label.height}"
            refused.append(Refusal(label.sha256, f"given as {size}, recorded as {image.width}x{image.height}"))
        elif said(known.get(label.sha256)) == said(label):
            unchanged += 1
        else:
            parts.setdefault(image.inspection_id, []).append(label)
    recorded = sum(import_part(queue, person, part, views, seen, refused) for part, views in parts.items())
    return Imported(recorded, unchanged, refused)


def said(label: ImageLabel | None) -> object:
    """What makes two labels the same: what is said, not what the image is known to be."""
    return label and (label.decision, label.defects, label.shapes, label.note)


def import_part(
    queue: Queue,
    person: str,
    part: UUID,
    views: Sequence[ImageLabel],
    seen: dict[str, SeenImage],
    refused: list[Refusal],
) -> bool:
    try:
        queue.import_label(person, part, resolution(queue.store, views, seen))
    except (ResolutionRefused, ReviewStale, ValidationError) as error:
        refused.append(Refusal(", ".join(view.sha256 for view in views), str(error)))
        return False
    return True


def resolution(store: ImageStore, views: Sequence[ImageLabel], seen: dict[str, SeenImage]) -> Resolution:
    """A part is an anomaly when one of its views is, and nobody can tell when nobody can of one."""
    said = {view.decision for view in views}
    worst = next(one for one in (Decision.ANOMALY, Decision.CANNOT_TELL, Decision.NORMAL) if one in said)
    regions = [region(store, seen[view.sha256].camera, shape) for view in views for shape in view.shapes]
    return Resolution.model_validate(
        {
            "decision": worst,
            "defects": list(dict.fromkeys(name for view in views for name in view.defects)),
            "regions": regions,
            "note": "\n".join(dict.fromkeys(view.note for view in views if view.note)),
            "took_milliseconds": 0,
        }
    )


def region(store: ImageStore, camera: str, shape: Shape) -> RegionFacts:
    mask = store.put(shape.mask, ".png").sha256 if shape.mask is not None else None
    points = list(shape.points) if shape.points is not None else None
    return RegionFacts(camera=camera, kind=shape.kind, defect=shape.defect, points=points, mask_sha256=mask)

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
from workers.labeling.exchange import Format, says_no_more
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


def import_labels(queue: Queue, person: str, rows: Iterable[ImageLabel | Refusal], format: Format) -> Imported:
    """Each part for itself; several views of one part are one decision.

    What says no more than is known changes nothing. format: of the rows, which tells what they have a place for.
    """
    refused, labels = [], []
    for row in rows:
        refused.append(row) if isinstance(row, Refusal) else labels.append(row)
    with queue.database.begin() as session:
        seen = labeled_images.seen(session, [label.sha256 for label in labels])
    known = {label.sha256: label for label in export_labels(queue)}
    parts: dict[UUID, list[ImageLabel]] = {}
    same: set[str] = set()
    for label in labels:
        image = seen.get(label.sha256)
        if why := misfit(label, image):
            refused.append(Refusal(label.sha256, why))
        elif image:
            held = known.get(label.sha256)
            if held and says_no_more(label, held, format):
                same.add(label.sha256)
                label = held  # with all that is known of this view, should another one of the part say more
            parts.setdefault(image.inspection_id, []).append(label)
    changed = {part: views for part, views in parts.items() if not same.issuperset(view.sha256 for view in views)}
    recorded = sum(import_part(queue, person, part, views, seen, refused) for part, views in changed.items())
    return Imported(recorded, len(same), refused)


def misfit(label: ImageLabel, image: SeenImage | None) -> str | None:
    """Why the label fits no image on record."""
    if image is None:
        return "no inspection on record saw this image"
    if label.width and (label.width, label.height) != (image.width, image.height):
        return f"given as {label.width}x{label.height}, recorded as {image.width}x{image.height}"
    return None


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

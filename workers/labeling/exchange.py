"""Labels out to other programs and in from them; what was exported and imported again is the same."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from storage.errors import AdlineError, DatasetInvalid, FileInTheWay
from storage.image_store import SHA256
from storage.images import ImageStore, decode, describe
from storage.label_models import Decision, RegionKind
from workers.datasets import export as dataset_export
from workers.datasets import label_csv, table
from workers.datasets import read as dataset_read
from workers.datasets.files import Place, relative
from workers.datasets.sample import UNNAMED_DEFECT, UNNAMED_PRODUCT, Dataset, Sample
from workers.labeling import coco, label_studio
from workers.labeling.image_label import ImageLabel, Refusal, Shape, copy_images, drawn, mask_bytes

Format = Literal["csv", "coco", "labelstudio", "mvtec", "meta"]
MASKS: Final = "masks"
Row = ImageLabel | Refusal
TABLES: Final = {"coco": coco, "labelstudio": label_studio}


def write(store: ImageStore, labels: Sequence[ImageLabel], out: Path, format: Format) -> list[str]:
    """A folder with the images and their labels; what the format has no place for, in sentences."""
    if out.exists():
        raise FileInTheWay(out, f"{out} is already there; name a folder that is not")
    partial = out.with_name(f".{out.name}.labels")
    shutil.rmtree(partial, ignore_errors=True)  # left by an export that was interrupted
    try:
        if format in ("coco", "labelstudio"):
            TABLES[format].write(partial, labels, copy_images(store, labels, partial))
            partial.rename(out)
            return []
        return write_dataset(store, labels, partial, out, format)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_dataset(
    store: ImageStore, labels: Sequence[ImageLabel], partial: Path, out: Path, format: Format
) -> list[str]:
    """Through workers.datasets: one defect class and one mask an image."""
    kept = [one for one in labels if format == "csv" or one.decision is not Decision.CANNOT_TELL]
    placed = copy_images(store, kept, partial)
    samples = sorted((sample(one, placed[one.sha256], partial, format) for one in kept), key=lambda one: one.path)
    said = dataset_export.export(Dataset(partial, tuple(samples)), out, format)
    left = len(labels) - len(kept)
    several = sum(len(one.defects) > 1 for one in kept)
    said += [f"{left} images nobody could tell were left out"] * bool(left)
    return said + [f"{several} images have several defect classes; the first one is written"] * bool(several)


def sample(label: ImageLabel, path: str, folder: Path, format: Format) -> Sample:
    canvas, mask = drawn(label), None
    if canvas is not None:
        mask = f"{MASKS}/{label.sha256}.png"
        (folder / MASKS).mkdir(exist_ok=True)
        (folder / mask).write_bytes(mask_bytes(canvas > 0))
    is_anomaly = None if label.decision is Decision.CANNOT_TELL else label.decision is Decision.ANOMALY
    return Sample(
        path=path,
        product=label.product or UNNAMED_PRODUCT,
        split=None if format == "csv" else "test",
        is_anomaly=is_anomaly,
        defect=(label.defects[0] if label.defects else UNNAMED_DEFECT) if is_anomaly else None,
        mask=mask,
        note=label.note,
    )


def flattened(label: ImageLabel, format: Format) -> ImageLabel:
    """The label as it comes back from this format: what there is no place for is not said."""
    if format == "labelstudio":
        return replace(label, shapes=tuple(replace(one, defect=label_studio.named(one.defect)) for one in label.shapes))
    if format == "coco":
        return label
    canvas = drawn(label)
    return replace(
        label,
        defects=tuple(name for name in label.defects[:1] if name != UNNAMED_DEFECT),
        shapes=() if canvas is None else (Shape(RegionKind.MASK, mask=mask_bytes(canvas > 0)),),
        note=label.note if format == "csv" else "",
    )


def says_no_more(row: ImageLabel, known: ImageLabel, format: Format) -> bool:
    """Whether the row says nothing that is not known: in a format with one class and one mask, empty is not said."""
    flat = flattened(known, format)
    if format in TABLES:
        return said(row) == said(flat)
    told = ((row.defects, flat.defects), (row.shapes, flat.shapes), (row.note.split(), flat.note.split()))
    return row.decision is flat.decision and all(not one or one == other for one, other in told)


def said(label: ImageLabel) -> object:
    """What makes two labels the same: what is said, not what the image is known to be."""
    return label.decision, label.defects, label.shapes, label.note


def read(path: Path, format: Format) -> Iterator[Row]:
    """Each row's label, or why it is refused. A file that is no such file at all raises DatasetInvalid."""
    if format == "csv":
        yield from read_csv(path)
    elif format in ("coco", "labelstudio"):
        try:
            yield from TABLES[format].read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetInvalid(path, format, given=str(error), allowed=f"a {format} export") from error
    else:
        found = dataset_read.read(path)
        yield from (of_sample(found.root, one) for one in found.samples)


def read_csv(path: Path) -> Iterator[Row]:
    """A folder with images and one table, or a table alone whose image_ids are SHA-256 of recorded images."""
    folder = path if path.is_dir() else path.parent
    (file, *others) = label_csv.tables(path) if path.is_dir() else [path]
    if others:
        raise DatasetInvalid(path, "tables of labels", given=len(others) + 1, allowed="one")
    images = label_csv.Images(folder)
    for place, row in table.rows(file):
        try:
            yield of_csv_row(images, place, row)
        except AdlineError as error:
            yield Refusal(f"row {place.row}", str(error))


def of_csv_row(images: label_csv.Images, place: Place, row: table.Row) -> ImageLabel:
    label = row["label"].lower()
    if label not in label_csv.LABELS:
        raise place.wrong("label", row["label"], "normal or good, anomaly or error, or nothing")
    is_anomaly, defect, mask = label_csv.LABELS[label], row.get("defect_class", ""), row.get("mask", "")
    if not is_anomaly and (defect or mask):
        raise place.wrong("defect_class, mask", defect or mask, "nothing where the label is not anomaly")
    stem = PurePosixPath(row["image_id"]).stem
    known = images.by_name.get(row["image_id"], []) or images.by_name.get(stem, [])
    one = Sample(
        path=images.find(row["image_id"], place) if known or not SHA256.fullmatch(stem) else "",
        product=row.get("product") or UNNAMED_PRODUCT,
        is_anomaly=is_anomaly,
        defect=defect or UNNAMED_DEFECT if is_anomaly else None,
        mask=relative(mask, place, "mask") if mask else None,
        note=row.get("description", ""),
    )
    return of_named(stem, one) if not one.path else checked(images.root, one, place)


def checked(root: Path, one: Sample, place: Place) -> ImageLabel:
    row = of_sample(root, one)
    if isinstance(row, Refusal):
        raise place.wrong("image", one.path, row.why)
    return row


def of_sample(root: Path, one: Sample) -> Row:
    try:
        data = (root / one.path).read_bytes()
        facts = describe(data)
        shapes = shapes_of(root, one)
    except (AdlineError, OSError) as error:
        return Refusal(one.path, str(error))
    return labelled(hashlib.sha256(data).hexdigest(), facts.width, facts.height, one, shapes)


def of_named(sha256: str, one: Sample) -> ImageLabel:
    """Of an image that is named and not sent along: its size is looked up."""
    return labelled(sha256, 0, 0, one, ())


def labelled(sha256: str, width: int, height: int, one: Sample, shapes: tuple[Shape, ...]) -> ImageLabel:
    decision = {None: Decision.CANNOT_TELL, False: Decision.NORMAL, True: Decision.ANOMALY}[one.is_anomaly]
    named = one.defect is not None and one.defect != UNNAMED_DEFECT
    return ImageLabel(
        sha256=sha256,
        width=width,
        height=height,
        decision=decision,
        defects=(str(one.defect),) if named else (),
        shapes=shapes,
        note=one.note,
        product=None if one.product == UNNAMED_PRODUCT else one.product,
    )


def shapes_of(root: Path, one: Sample) -> tuple[Shape, ...]:
    if one.mask is not None:
        marked = decode((root / one.mask).read_bytes())
        flat = marked.max(axis=2) if marked.ndim == 3 else marked
        return (Shape(RegionKind.MASK, mask=mask_bytes(flat > 0)),)
    corners = [((box.x, box.y), (box.x + box.width, box.y + box.height)) for box in one.boxes]
    return tuple(Shape(RegionKind.BOX, points=coco.rounded(points)) for points in corners)

"""A label as other programs know it: of one image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.image_store import SHA256
from storage.images import ImageStore, decode, describe, encode
from storage.label_models import Decision, RegionKind
from workers.datasets.files import Place, relative

Mask = NDArray[np.uint8]
"""(H, W); 255 where defective, else 0."""
Points = tuple[tuple[float, float], ...]
IMAGES: Final = "images"


@dataclass(frozen=True)
class Shape:
    """A region on the image: corners in pixels, or a mask as the bytes of a PNG."""

    kind: RegionKind
    defect: str | None = None
    points: Points | None = None
    mask: bytes | None = None


@dataclass(frozen=True)
class ImageLabel:
    """What is said of one image, known by the SHA-256 of its bytes."""

    sha256: str
    width: int
    height: int
    decision: Decision
    defects: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    note: str = ""
    product: str | None = None


@dataclass(frozen=True)
class Refusal:
    """A row that cannot be imported, and why."""

    row: str
    why: str


def of_row(store: ImageStore, row: dict[str, Any]) -> ImageLabel:
    """The label of a recorded frame, as storage.labeled_images tells it."""
    label = row["label"]
    shapes = [shape_of(store, region) for region in label["regions"] if region["camera"] == row["camera"]]
    return ImageLabel(
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        decision=label["decision"],
        defects=tuple(label["defects"]),
        shapes=tuple(shapes),
        note=label["note"],
        product=row["product"],
    )


def shape_of(store: ImageStore, region: dict[str, Any]) -> Shape:
    points = tuple((float(x), float(y)) for x, y in region["points"]) if region["points"] is not None else None
    mask = mask_bytes(decode(store.get(region["mask_sha256"])) > 0) if region["mask_sha256"] else None
    return Shape(region["kind"], region["defect"], points, mask)


def mask_bytes(defective: NDArray[np.bool_]) -> bytes:
    """(H, W) to a PNG; the same pixels give the same bytes."""
    return encode(np.where(defective, np.uint8(255), np.uint8(0)), "png")


def drawn(label: ImageLabel) -> Mask | None:
    """All shapes in one mask; None when there is none."""
    if not label.shapes:
        return None
    canvas = np.zeros((label.height, label.width), np.uint8)
    for shape in label.shapes:
        if shape.mask is not None:
            canvas[decode(shape.mask) > 0] = 255
        else:
            cv2.fillPoly(canvas, [np.rint(np.array(outline(shape))).astype(np.int32)], 255)
    return canvas


def outline(shape: Shape) -> Points:
    """The corners, a box's four included."""
    assert shape.points is not None  # only masks have none
    if shape.kind is not RegionKind.BOX:
        return shape.points
    (left, top), (right, bottom) = shape.points
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def frame_of(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """x, y, width, height of what encloses the points."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def copy_images(store: ImageStore, labels: Sequence[ImageLabel], out: Path) -> dict[str, str]:
    """The image files into out/images; their paths relative to out by SHA-256."""
    (out / IMAGES).mkdir(parents=True)
    placed = {}
    for label in labels:
        source = store.path(label.sha256)
        placed[label.sha256] = f"{IMAGES}/{source.name}"
        (out / placed[label.sha256]).write_bytes(store.get(label.sha256))
    return placed


def sha256_of(folder: Path, path: str) -> str:
    """Of the image's bytes; of a file that was not sent along, what its name says."""
    inside = relative(path, Place(folder), "image")
    if (folder / inside).is_file():
        return hashlib.sha256((folder / inside).read_bytes()).hexdigest()
    stem = PurePosixPath(inside).stem
    if SHA256.fullmatch(stem):
        return stem
    raise ValueError(f"{path}: no such file, and its name is not the SHA-256 of a recorded image")


def size_of(folder: Path, path: str) -> tuple[int, int]:
    """Width and height; zeros for a file that was not sent along: its record knows."""
    file = folder / relative(path, Place(folder), "image")
    if not file.is_file():
        return 0, 0
    facts = describe(file.read_bytes())
    return facts.width, facts.height

"""Labels as COCO: polygons, boxes, run-length masks; what COCO has no word for stands under "adline".

An image without annotations would be a good one to other programs; the decision is told with the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import AdlineError
from storage.images import decode
from storage.label_models import Decision, RegionKind
from workers.labeling.image_label import ImageLabel, Refusal, Shape, frame_of, mask_bytes, outline, sha256_of

TABLE: Final = "annotations.json"
UNNAMED: Final = "anomaly"
"""The category of a region whose defect class nobody named."""


def write(out: Path, labels: Sequence[ImageLabel], placed: dict[str, str]) -> None:
    names = sorted({*(shape.defect or UNNAMED for label in labels for shape in label.shapes)})
    numbers = {name: number for number, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, label in enumerate(labels, start=1):
        facts = {"decision": label.decision.value, "defects": list(label.defects), "note": label.note}
        size = {"width": label.width, "height": label.height}
        told = {**facts, "product": label.product, "sha256": label.sha256}
        images.append({"id": number, "file_name": placed[label.sha256], **size, "adline": told})
        for shape in label.shapes:
            place = {"id": len(annotations) + 1, "image_id": number, "category_id": numbers[shape.defect or UNNAMED]}
            annotations.append(place | annotation(shape))
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (out / TABLE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def annotation(shape: Shape) -> dict[str, Any]:
    kind = {"iscrowd": 0, "adline": {"kind": shape.kind.value, "defect": shape.defect}}
    if shape.mask is not None:
        return {**kind, **run_lengths(decode(shape.mask) > 0)}
    corners = outline(shape)
    area = abs(sum(x * v - u * y for (x, y), (u, v) in zip(corners, (*corners[1:], corners[0]), strict=True))) / 2
    segmentation = [[value for corner in corners for value in corner]]
    return {**kind, "segmentation": segmentation, "bbox": list(frame_of(corners)), "area": area}


def run_lengths(defective: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed RLE: lengths of runs down the columns, the first of them of zeros."""
    flat = defective.ravel(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=1 - flat[-1])).tolist()
    counts = np.diff([0, *edges]).tolist()
    ys, xs = np.nonzero(defective)
    box = [0, 0, 0, 0] if not len(xs) else [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    segmentation = {"size": list(defective.shape), "counts": counts}
    return {"segmentation": segmentation, "bbox": [int(one) for one in box], "area": int(defective.sum())}


def mask_of(segmentation: dict[str, Any]) -> NDArray[np.bool_]:
    """Back from run_lengths."""
    height, width = segmentation["size"]
    flat = np.repeat(np.arange(len(segmentation["counts"])) % 2 == 1, segmentation["counts"])
    return np.asarray(flat.reshape((height, width), order="F"))


def read(folder: Path) -> Iterator[ImageLabel | Refusal]:
    """Each image with its annotations; what cannot be read is refused by itself."""
    content = json.loads((folder / TABLE).read_text(encoding="utf-8"))
    names = {one["id"]: one["name"] for one in content["categories"]}
    of_image: dict[Any, list[dict[str, Any]]] = {}
    for one in content["annotations"]:
        of_image.setdefault(one["image_id"], []).append(one)
    for place, image in enumerate(content["images"]):
        try:
            yield label_of(folder, image, of_image.get(image["id"], []), names)
        except (AdlineError, KeyError, TypeError, ValueError, OSError) as error:
            yield Refusal(f"images[{place}]", f"{type(error).__name__}: {error}")


def label_of(folder: Path, image: dict[str, Any], marks: list[dict[str, Any]], names: dict[Any, str]) -> ImageLabel:
    told = image.get("adline", {})
    shapes = tuple(shape_of(one, names[one["category_id"]]) for one in marks)
    named = tuple(dict.fromkeys(shape.defect for shape in shapes if shape.defect))
    return ImageLabel(
        sha256=sha256_of(folder, image["file_name"]),
        width=int(image["width"]),
        height=int(image["height"]),
        decision=Decision(told.get("decision", "anomaly" if marks else "normal")),
        defects=tuple(told.get("defects", named)),
        shapes=shapes,
        note=told.get("note", ""),
        product=told.get("product"),
    )


def shape_of(one: dict[str, Any], name: str) -> Shape:
    """Of another program's file, what is drawn decides: runs are a mask, corners a polygon, else a box."""
    told, drawn = one.get("adline", {}), one.get("segmentation")
    defect = told.get("defect", None if name == UNNAMED else name)
    if isinstance(drawn, dict):
        return Shape(RegionKind.MASK, defect, mask=mask_bytes(mask_of(drawn)))
    kind = RegionKind(told.get("kind", "polygon" if drawn else "box"))
    if kind is RegionKind.BOX:
        x, y, width, height = one["bbox"]
        return Shape(kind, defect, rounded(((x, y), (x + width, y + height))))
    if not drawn or len(drawn) != 1:
        raise ValueError(f"annotation {one.get('id')}: a polygon in one piece is allowed, given {len(drawn or ())}")
    (flat,) = drawn
    return Shape(kind, defect, rounded(tuple(zip(flat[::2], flat[1::2], strict=True))))


def rounded(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(x), 3), round(float(y), 3)) for x, y in points)

"""Labels as Label Studio's JSON: choices, text, rectangles and polygons in percent, brushes in its run-length code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from storage.errors import AdlineError
from storage.images import decode
from storage.label_models import Decision, RegionKind
from workers.labeling.brush import brush_of, runs_of
from workers.labeling.coco import rounded
from workers.labeling.image_label import ImageLabel, Refusal, Shape, frame_of, mask_bytes, sha256_of, size_of

TABLE: Final = "tasks.json"
UNNAMED: Final = "anomaly"
TYPES: Final = {
    RegionKind.BOX: "rectanglelabels",
    RegionKind.POLYGON: "polygonlabels",
    RegionKind.MASK: "brushlabels",
}
CONFIGURATION: Final = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <Choices name="decision" toName="image" required="true">
    <Choice value="normal"/><Choice value="anomaly"/><Choice value="cannot_tell"/>
  </Choices>
  <Choices name="defects" toName="image" choice="multiple">{choices}</Choices>
  <RectangleLabels name="box" toName="image">{labels}</RectangleLabels>
  <PolygonLabels name="polygon" toName="image">{labels}</PolygonLabels>
  <BrushLabels name="mask" toName="image">{labels}</BrushLabels>
  <TextArea name="note" toName="image"/>
</View>
"""


def write(out: Path, labels: Sequence[ImageLabel], placed: dict[str, str]) -> None:
    """tasks.json, and label_config.xml for a project that can show them."""
    tasks = [task(number, label, placed[label.sha256]) for number, label in enumerate(labels, start=1)]
    (out / TABLE).write_text(json.dumps(tasks, indent=1, ensure_ascii=False), encoding="utf-8")
    shapes = [shape for label in labels for shape in label.shapes]
    said = {name for label in labels for name in label.defects}
    names = sorted({UNNAMED, *said, *(shape.defect or UNNAMED for shape in shapes)})
    listed = {
        "choices": "".join(f"<Choice value={quoteattr(name)}/>" for name in names),
        "labels": "".join(f"<Label value={quoteattr(name)}/>" for name in names),
    }
    (out / "label_config.xml").write_text(CONFIGURATION.format(**listed), encoding="utf-8")


def task(number: int, label: ImageLabel, path: str) -> dict[str, Any]:
    results = [result("decision", "choices", {"choices": [label.decision.value]})]
    if label.defects:
        results.append(result("defects", "choices", {"choices": list(label.defects)}))
    if label.note:
        results.append(result("note", "textarea", {"text": [label.note]}))
    size = {"original_width": label.width, "original_height": label.height, "image_rotation": 0}
    results += [
        {**result(shape.kind.value, TYPES[shape.kind], drawn(shape, label)), **size, "id": f"{number}-{place}"}
        for place, shape in enumerate(label.shapes, start=1)
    ]
    data = {"image": path, "sha256": label.sha256, "product": label.product}
    return {"id": number, "data": data, "annotations": [{"id": number, "result": results}]}


def result(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "image", "type": kind, "value": value}


def drawn(shape: Shape, label: ImageLabel) -> dict[str, Any]:
    labels = {TYPES[shape.kind]: [shape.defect or UNNAMED]}
    if shape.mask is not None:
        return {"format": "rle", "rle": runs_of(decode(shape.mask)), **labels}
    assert shape.points is not None  # what is not a mask has corners
    across, down = 100 / label.width, 100 / label.height
    if shape.kind is RegionKind.BOX:
        x, y, width, height = frame_of(shape.points)
        place = {"x": x * across, "y": y * down, "width": width * across, "height": height * down}
        return {**place, "rotation": 0, **labels}
    return {"points": [[x * across, y * down] for x, y in shape.points], **labels}


def read(folder: Path) -> Iterator[ImageLabel | Refusal]:
    """Each task's newest annotation; what cannot be read is refused by itself."""
    for place, one in enumerate(json.loads((folder / TABLE).read_text(encoding="utf-8"))):
        try:
            yield label_of(folder, one)
        except (AdlineError, KeyError, TypeError, ValueError, IndexError, OSError) as error:
            yield Refusal(f"tasks[{place}]", f"{type(error).__name__}: {error}")


def label_of(folder: Path, one: dict[str, Any]) -> ImageLabel:
    results = one["annotations"][-1]["result"]
    sha256 = sha256_of(folder, one["data"]["image"])
    sizes = {(row["original_width"], row["original_height"]) for row in results if "original_width" in row}
    width, height = sizes.pop() if sizes else size_of(folder, one["data"]["image"])
    shapes = tuple(shape_of(row, width, height) for row in results if row["type"] in TYPES.values())
    said = {row["from_name"]: row["value"] for row in results if row["type"] in ("choices", "textarea")}
    default = ["anomaly" if shapes else "normal"]
    return ImageLabel(
        sha256=sha256,
        width=width,
        height=height,
        decision=Decision(said.get("decision", {}).get("choices", default)[0]),
        defects=tuple(said.get("defects", {}).get("choices", ())),
        shapes=shapes,
        note="\n".join(said.get("note", {}).get("text", ())),
        product=one["data"].get("product"),
    )


def named(defect: str | None) -> str | None:
    """A region must have a label there: this one stands for none."""
    return None if defect == UNNAMED else defect


def shape_of(row: dict[str, Any], width: int, height: int) -> Shape:
    kind = next(kind for kind, name in TYPES.items() if name == row["type"])
    value, name = row["value"], row["value"][row["type"]][0]
    defect = named(name)
    if kind is RegionKind.MASK:
        return Shape(kind, defect, mask=mask_bytes(brush_of(value["rle"], width, height)))
    if kind is RegionKind.POLYGON:
        return Shape(kind, defect, rounded(tuple((x * width / 100, y * height / 100) for x, y in value["points"])))
    if value.get("rotation"):
        raise ValueError("a rotated rectangle has no place here; draw a polygon")
    left, top = value["x"] * width / 100, value["y"] * height / 100
    right, bottom = left + value["width"] * width / 100, top + value["height"] * height / 100
    return Shape(kind, defect, rounded(((left, top), (right, bottom))))

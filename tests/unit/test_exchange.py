"""Labels out to other programs and in again: the same; and their own readers take them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from storage.errors import DatasetInvalid, FileInTheWay
from storage.images import ImageStore, decode
from storage.label_models import Decision, RegionKind
from tests.facts import picture
from workers.labeling.brush import brush_of, runs_of
from workers.labeling.coco import mask_of, run_lengths
from workers.labeling.exchange import Format, read, write
from workers.labeling.image_label import ImageLabel, Refusal, Shape, drawn, mask_bytes

WIDTH, HEIGHT = 20, 12
WHOLE: tuple[Format, ...] = ("coco", "labelstudio")
"""Formats that hold every region as it was drawn."""
LAYERED: tuple[Format, ...] = ("csv", "mvtec", "meta")
"""Formats with one class and one mask an image."""

names = st.sampled_from(["crack", "scratch", "öl & <fett>", "rust-1"])
notes = st.text("abc äö<>\"&,;\n'", max_size=12).map(str.strip)
xs = st.integers(0, WIDTH * 1000).map(lambda value: value / 1000)
ys = st.integers(0, HEIGHT * 1000).map(lambda value: value / 1000)
masks = st.binary(min_size=WIDTH * HEIGHT // 8, max_size=WIDTH * HEIGHT // 8).map(
    lambda data: np.unpackbits(np.frombuffer(data, np.uint8)).reshape(HEIGHT, WIDTH).astype(bool)
)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    left, right = sorted(draw(st.lists(xs, min_size=2, max_size=2, unique=True)))
    top, bottom = sorted(draw(st.lists(ys, min_size=2, max_size=2, unique=True)))
    return (left, top), (right, bottom)


polygons = st.lists(st.tuples(xs, ys), min_size=3, max_size=6).map(tuple)
shapes = st.one_of(
    st.builds(Shape, st.just(RegionKind.BOX), st.none() | names, boxes()),
    st.builds(Shape, st.just(RegionKind.POLYGON), st.none() | names, polygons),
    st.builds(Shape, st.just(RegionKind.MASK), st.none() | names, st.none(), masks.map(mask_bytes)),
)


@st.composite
def said(draw: st.DrawFn) -> dict[str, Any]:
    decision = draw(st.sampled_from([Decision.NORMAL, Decision.ANOMALY, Decision.CANNOT_TELL]))
    facts: dict[str, Any] = {"decision": decision, "note": draw(notes)}
    if decision is Decision.ANOMALY:
        facts["defects"] = tuple(draw(st.lists(names, max_size=3, unique=True)))
        facts["shapes"] = tuple(draw(st.lists(shapes, max_size=3)))
    return facts


def stored(folder: Path, everything: list[dict[str, Any]]) -> tuple[ImageStore, list[ImageLabel]]:
    """Images in a store, each with what is said of it."""
    store = ImageStore(folder / "store")
    made = []
    for shade, facts in enumerate(everything):
        sha256 = store.put(picture(shade, WIDTH, HEIGHT), ".png").sha256
        made.append(ImageLabel(sha256=sha256, width=WIDTH, height=HEIGHT, **facts))
    return store, made


def back(path: Path, format: Format) -> dict[str, ImageLabel]:
    rows = list(read(path, format))
    assert not [row for row in rows if isinstance(row, Refusal)]
    return {row.sha256: row for row in rows if isinstance(row, ImageLabel)}


def flattened(label: ImageLabel, format: Format) -> ImageLabel:
    """What a format with one class and one mask an image can say of it."""
    canvas = drawn(label)
    mask = () if canvas is None else (Shape(RegionKind.MASK, mask=mask_bytes(canvas > 0)),)
    note = label.note if format == "csv" else ""
    return ImageLabel(label.sha256, WIDTH, HEIGHT, label.decision, label.defects[:1], mask, note)


@pytest.mark.parametrize("format", WHOLE)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(everything=st.lists(said(), min_size=1, max_size=4))
def test_what_was_exported_and_imported_is_the_same_to_the_corner(
    format: Format, everything: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("exchange")
    store, labels = stored(folder, everything)
    assert write(store, labels, folder / "out", format) == []
    assert back(folder / "out", format) == {label.sha256: label for label in labels}


@pytest.mark.parametrize("format", LAYERED)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(everything=st.lists(said(), min_size=1, max_size=4))
def test_what_a_simpler_format_can_hold_comes_back_the_same_and_again_the_same(
    format: Format, everything: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("exchange")
    everything.append({"decision": Decision.NORMAL})
    store, labels = stored(folder, everything)
    write(store, labels, folder / "out", format)
    kept = [label for label in labels if format == "csv" or label.decision is not Decision.CANNOT_TELL]
    once = back(folder / "out", format)
    assert once == {label.sha256: flattened(label, format) for label in kept}
    write(store, list(once.values()), folder / "again", format)
    assert back(folder / "again", format) == once


@settings(max_examples=60, deadline=None)
@given(masks)
def test_run_lengths_lead_back_to_the_mask(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    assert (mask_of(run_lengths(mask)["segmentation"]) == mask).all()
    levels = np.where(mask, np.uint8(255), np.uint8(0))
    assert (brush_of(runs_of(levels), WIDTH, HEIGHT) == mask).all()


def test_a_brush_is_written_as_label_studio_writes_it() -> None:
    mask = np.zeros((2, 3), np.uint8)
    mask[0, 1] = 255
    # 24 values: 4 zeros, 4 times 255, 16 zeros; worked out by hand from label_studio_sdk.converter.brush.
    header = f"{24:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    runs = "1" + "00" + "011" + "00000000" + "1" + "00" + "011" + "11111111" + "1" + "01" + "1111" + "00000000"
    bits = header + runs
    bits += "0" * (-len(bits) % 8)
    assert runs_of(mask) == [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def test_a_brush_that_label_studio_wrote_is_read_to_the_pixel() -> None:
    """Recorded from mask2rle of label_studio_sdk 2.1.2; `make label-studio` asks its converter itself."""
    recorded = (0, 0, 0, 140, 57, 27, 254, 35, 0, 183, 255, 124, 2, 223, 253, 240, 11, 127, 248, 124, 2, 63, 240)
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:5] = mask[4, 6] = True
    assert (brush_of(recorded, 7, 5) == mask).all()


MARKED: list[dict[str, Any]] = [
    {
        "decision": Decision.ANOMALY,
        "defects": ("crack", "scratch"),
        "shapes": (
            Shape(RegionKind.BOX, "crack", ((2, 3), (8, 7))),
            Shape(RegionKind.POLYGON, "scratch", ((10, 1), (18, 1), (18, 9))),
            Shape(RegionKind.MASK, None, None, mask_bytes(np.eye(HEIGHT, WIDTH, dtype=bool))),
        ),
    },
    {"decision": Decision.NORMAL},
]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and NumPy 2
def test_pycocotools_loads_the_export_and_draws_its_masks(tmp_path: Path) -> None:
    store, labels = stored(tmp_path, MARKED)
    write(store, labels, tmp_path / "out", "coco")
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == ["anomaly", "crack", "scratch"]
    box, polygon, mask = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert coco.annToMask(box)[3:7, 2:8].all() and coco.annToMask(box).sum() == box["area"] == 24
    assert coco.annToMask(polygon).shape == (HEIGHT, WIDTH) and 20 < coco.annToMask(polygon).sum() < 45
    assert (coco.annToMask(mask) == np.eye(HEIGHT, WIDTH)).all()
    assert coco.getAnnIds(imgIds=[2]) == [] and (tmp_path / "out" / coco.loadImgs([2])[0]["file_name"]).is_file()


def test_anomalyclip_reads_the_meta_json(tmp_path: Path) -> None:
    """The rules of its Dataset: paths beside the root, a mask for an anomaly or a folder in its place."""
    store, labels = stored(tmp_path, [*MARKED, {"decision": Decision.ANOMALY}])
    write(store, labels, tmp_path / "out", "meta")
    root = tmp_path / "out"
    info = json.loads((root / "meta.json").read_text())
    assert set(info) == {"train", "test"}
    entries = [entry for product in info["test"] for entry in info["test"][product]]
    assert len(entries) == 3
    for entry in entries:
        assert decode((root / entry["img_path"]).read_bytes()).shape[:2] == (HEIGHT, WIDTH)
        mask = root / entry["mask_path"]
        if entry["anomaly"] and not mask.is_dir():
            levels = decode(mask.read_bytes())
            assert levels.shape == (HEIGHT, WIDTH) and set(np.unique(levels)) == {0, 255}
    assert sorted(entry["specie_name"] for entry in entries) == ["anomaly", "crack", "good"]


def test_label_studios_tasks_hold_what_its_interface_names(tmp_path: Path) -> None:
    store, labels = stored(tmp_path, MARKED)
    write(store, labels, tmp_path / "out", "labelstudio")
    (first, second) = json.loads((tmp_path / "out" / "tasks.json").read_text())
    results = first["annotations"][0]["result"]
    kinds = ["choices", "choices", "rectanglelabels", "polygonlabels", "brushlabels"]
    assert [one["type"] for one in results] == kinds
    box = results[2]
    assert box["value"]["rectanglelabels"] == ["crack"] and box["original_width"] == WIDTH
    assert [box["value"][name] for name in ("x", "y", "width", "height")] == pytest.approx([10, 25, 30, 100 / 3])
    assert second["annotations"][0]["result"][0]["value"] == {"choices": ["normal"]}
    interface = (tmp_path / "out" / "label_config.xml").read_text()
    assert all(f'name="{one["from_name"]}"' in interface for one in results)


def test_each_row_is_checked_by_itself_and_a_wrong_one_is_named_with_why(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    table = "image_id,label,description\na,anomaly,left edge\nb,normal,\na.png,perhaps,\n../a.png,error,\na,error,\n"
    (tmp_path / "labels.csv").write_text(table)
    rows = list(read(tmp_path, "csv"))
    refused = {row.row: row.why for row in rows if isinstance(row, Refusal)}
    assert set(refused) == {"row 3", "row 4", "row 5"}
    assert "one image under" in refused["row 3"] and "perhaps" in refused["row 4"] and "'..'" in refused["row 5"]
    good = [row for row in rows if isinstance(row, ImageLabel)]
    assert [one.decision for one in good] == ["anomaly", "anomaly"], "anomaly and error are one"
    assert good[0].note == "left edge"


def test_a_table_alone_names_recorded_images_by_their_sha256(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(f"image_id,label,description\n{'a' * 64}.png,error,x\n{'b' * 64},normal,\n")
    rows = [row for row in read(tmp_path / "labels.csv", "csv") if isinstance(row, ImageLabel)]
    assert [(row.sha256[0], row.decision) for row in rows] == [("a", "anomaly"), ("b", "normal")]


@pytest.mark.parametrize(
    ("format", "file", "content"),
    [
        ("coco", "annotations.json", "[]"),
        ("coco", "annotations.json", "{"),
        ("coco", "annotations.json", '{"images": []}'),
        ("labelstudio", "tasks.json", "7"),
        ("labelstudio", "other.json", "[]"),
        ("meta", "meta.json", "[]"),
    ],
)
def test_what_is_no_such_file_is_refused_as_a_whole(tmp_path: Path, format: Format, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(DatasetInvalid):
        list(read(tmp_path, format))


@pytest.mark.parametrize("format", WHOLE)
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, format: Format) -> None:
    store, labels = stored(tmp_path, MARKED)
    write(store, labels, tmp_path / "out", format)
    file = tmp_path / "out" / ("annotations.json" if format == "coco" else "tasks.json")
    file.write_text(file.read_text().replace("images/", "../images/", 1))
    (first, second) = read(tmp_path / "out", format)
    assert isinstance(first, Refusal) and isinstance(second, ImageLabel)


def test_a_folder_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    store, labels = stored(tmp_path, MARKED)
    with pytest.raises(FileInTheWay):
        write(store, labels, tmp_path, "coco")

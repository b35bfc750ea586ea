"""Whatever is wrong with a data set: the file, the row, what was given and what is allowed are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import DatasetInvalid
from storage.images import encode
from tests.unit.dataset_files import meta_entry, write_images, write_json, write_mvtec
from workers.datasets.read import read

OUTSIDE = [
    "../secret.png",
    "/etc/secret.png",
    "images/../../secret.png",
    "C:\\secret.png",
    "..\\secret.png",
    "C:/a.png",
]


def refused(root: Path) -> DatasetInvalid:
    with pytest.raises(DatasetInvalid) as caught:
        read(root)
    error = caught.value
    assert str(error.where) in str(error) and repr(error.given) in str(error) and error.allowed in str(error)
    return error


def test_no_folder_an_empty_one_and_an_unknown_layout(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere").allowed == "a folder that is there"
    (tmp_path / "empty").mkdir()
    assert "meta.json" in refused(tmp_path / "empty").allowed
    (tmp_path / "odd" / "train").mkdir(parents=True)
    assert "test/<defect>" in refused(tmp_path / "odd").allowed


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    (write_mvtec(tmp_path) / "test" / "dent").mkdir()
    error = refused(tmp_path)
    assert error.where == tmp_path / "test" / "dent" and error.given == "no image"


def test_a_mask_of_another_size_than_its_image_is_named_with_both_sizes(tmp_path: Path) -> None:
    mask = write_mvtec(tmp_path) / "ground_truth" / "crack" / "0_mask.png"
    mask.write_bytes(encode(np.zeros((4, 6), np.uint8), "png"))
    error = refused(tmp_path)
    assert error.where == mask and error.given == "6x4" and error.allowed.startswith("12x8")


def test_a_mask_without_an_image_and_one_that_is_no_image_are_named(tmp_path: Path) -> None:
    write_images(write_mvtec(tmp_path), "ground_truth/crack/9_mask.png")
    assert refused(tmp_path).given == "9_mask.png"
    (tmp_path / "ground_truth" / "crack" / "9_mask.png").unlink()
    (tmp_path / "ground_truth" / "crack" / "0_mask.png").write_bytes(b"not an image")
    assert "not a JPEG" in str(refused(tmp_path).given)


def test_both_spellings_of_ground_truth_at_once_are_refused(tmp_path: Path) -> None:
    write_images(write_mvtec(tmp_path), "grouth_truth/crack/0_mask.png")
    assert refused(tmp_path).allowed == "one of them"


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_leads_out_of_the_data_set_is_refused_everywhere(tmp_path: Path, path: str) -> None:
    root = tmp_path / "data"
    write_images(tmp_path, "secret.png")
    write_images(root, "a.png")
    write_json(root / "meta.json", {"train": {"lid": [meta_entry(path)]}, "test": {}})
    error = refused(root)
    assert (error.where, error.row, error.given) == (root / "meta.json", "train.lid[0]", path)
    assert "inside the data set" in error.allowed

    masked = meta_entry("a.png", mask_path=path, specie_name="dent", anomaly=1)
    write_json(root / "meta.json", {"train": {}, "test": {"lid": [masked]}})
    assert refused(root).what == "mask_path"
    (root / "meta.json").unlink()

    (root / "labels.csv").write_text(f"image_id,label,description\na.png,good,\n{path},good,\n")
    error = refused(root)
    assert (error.where, error.row, error.given) == (root / "labels.csv", 3, path)
    (root / "labels.csv").unlink()

    write_json(
        root / "annotations.json", {"images": [{"id": 1, "file_name": path}], "categories": [], "annotations": []}
    )
    assert refused(root).row == "images[0]"


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("a.png", "image"),
        ({"img_path": "a.png"}, "image"),
        (meta_entry("a.png", anomaly=2), "anomaly"),
        (meta_entry("a.png", anomaly="1"), "anomaly"),
        (meta_entry("a.png", anomaly=[1]), "anomaly"),
        (meta_entry("a.png", cls_name="bolt"), "cls_name"),
        (meta_entry("gone.png"), "img_path"),
        (meta_entry("a.txt"), "img_path"),
        (meta_entry(7), "img_path"),  # type: ignore[arg-type]  # the wrong type is the test
        (meta_entry("a.png", anomaly=1, specie_name="../up"), "specie_name"),
        (meta_entry("a.png", anomaly=1, specie_name="good"), "specie_name"),
        (meta_entry("a.png", anomaly=1, specie_name="dent", mask_path="gone.png"), "mask_path"),
    ],
)
def test_a_malformed_image_in_meta_json_is_named_by_its_place(tmp_path: Path, entry: Any, what: str) -> None:
    write_images(tmp_path, "a.png")
    write_json(tmp_path / "meta.json", {"train": {"lid": [meta_entry("a.png"), entry]}, "test": {}})
    error = refused(tmp_path)
    assert (error.what, error.row) == (what, "train.lid[1]")


@pytest.mark.parametrize("content", [[], {}, {"train": []}, {"train": {"lid": []}, "test": {}}, {"train": {"lid": {}}}])
def test_a_meta_json_of_another_shape_is_refused(tmp_path: Path, content: Any) -> None:
    write_json(tmp_path / "meta.json", content)
    assert refused(tmp_path).where == tmp_path / "meta.json"


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe{}", b"[" * 100_000, b"NaN"])
def test_what_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "meta.json").write_bytes(data)
    assert refused(tmp_path).where == tmp_path / "meta.json"


@pytest.mark.parametrize(
    ("row", "what", "number"),
    [
        ("a.png,bad,", "label", 3),
        ("a.png,good", "row", 3),
        ("a.png,good,,", "row", 3),
        (",good,", "image_id", 3),
        ("gone,good,", "image_id", 3),
        ("twice.png,good,", "image_id", 3),
        ('"a.png,good,', "CSV", 3),
    ],
)
def test_a_malformed_row_of_a_label_csv_is_named_by_its_line(tmp_path: Path, row: str, what: str, number: int) -> None:
    write_images(tmp_path, "a.png", "first.png", "x/twice.png", "y/twice.png")
    (tmp_path / "labels.csv").write_text(f"image_id,label,description\nfirst,good,\n{row}\n")
    error = refused(tmp_path)
    assert (error.what, error.row) == (what, number)


def test_a_good_image_has_no_defect_class_and_no_mask(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / "labels.csv").write_text("image_id,label,description,defect_class\na.png,good,,crack\n")
    assert refused(tmp_path).given == "crack"


def test_an_image_listed_twice_and_two_tables_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    table = "image_id,label,description\na.png,good,\n"
    (tmp_path / "labels.csv").write_text(table + "a,anomaly,\n")
    assert refused(tmp_path).allowed == "each image once"
    (tmp_path / "more.csv").write_text(table)
    assert refused(tmp_path).given == ["labels.csv", "more.csv"]


@pytest.mark.parametrize(
    ("annotation", "what"),
    [
        ({"image_id": 9, "category_id": 5, "bbox": [0, 0, 1, 1]}, "image_id"),
        ({"image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1]}, "category_id"),
        ({"image_id": 1, "category_id": 5, "bbox": [0, 0, 1]}, "bbox"),
        ({"image_id": 1, "category_id": 5, "bbox": [0, 0, 0, 1]}, "bbox"),
        ({"image_id": 1, "category_id": 5, "bbox": [-1, 0, 1, 1]}, "bbox"),
        ({"image_id": 1, "category_id": 5, "bbox": [0, 0, float("nan"), 1]}, "bbox"),
        ({"image_id": 1, "category_id": 5, "bbox": [True, 0, 1, 1]}, "bbox"),
        ({"image_id": 1, "category_id": 5, "bbox": [10, 0, 3, 1]}, "box"),
        ({"image_id": 1}, "entry"),
    ],
)
def test_a_malformed_box_is_named(tmp_path: Path, annotation: dict[str, Any], what: str) -> None:
    write_images(tmp_path, "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 5, "name": "crack"}],
        "annotations": [annotation],
    }
    write_json(tmp_path / "annotations.json", content)
    assert refused(tmp_path).what == what


def test_boxes_on_a_good_image_are_refused(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "test/good/0.png"}],
        "categories": [{"id": 5, "name": "crack"}],
        "annotations": [{"image_id": 1, "category_id": 5, "bbox": [0, 0, 1, 1]}],
    }
    write_json(write_mvtec(tmp_path) / "annotations.json", content)
    assert refused(tmp_path).where == tmp_path / "test" / "good" / "0.png"


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("picture,piece\n", "columns"),
        ("image\n", "columns"),
        ("image,piece\ngone.png,1\n", "image"),
        ("image,piece\n0.png,1\n", "image"),
        ("image,piece\n1.png,\n", "piece"),
        ("image,piece\n1.png,1\ntrain/good/1.png,2\n", "image"),
    ],
)
def test_a_malformed_table_of_groups_is_refused(tmp_path: Path, table: str, what: str) -> None:
    (write_mvtec(tmp_path) / "groups.csv").write_text(table)
    error = refused(tmp_path)
    assert (error.where, error.what) == (tmp_path / "groups.csv", what)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["meta.json", "labels.csv", "annotations.json", "groups.csv"]), data=st.data())
def test_damaged_tables_raise_nothing_but_our_own_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    write_mvtec(tmp_path)
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["train", "test", "images", "annotations", "categories", "id"]), inner)
        ),
        max_leaves=6,
    )
    if name.endswith(".json"):
        write_json(tmp_path / name, data.draw(values))
    else:
        rows = data.draw(st.lists(st.lists(st.text(max_size=6), max_size=4), max_size=4))
        header = "image_id,label,description" if name == "labels.csv" else "image,piece"
        text = "\n".join([header, *(",".join(row) for row in rows)])
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read(tmp_path)
    except DatasetInvalid:
        pass
    finally:
        (tmp_path / name).unlink()

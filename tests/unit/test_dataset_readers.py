"""Each layout is read into the same samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.dataset_files import meta_entry, write_images, write_json, write_mvtec
from workers.datasets.read import read
from workers.datasets.sample import Box, Sample
from workers.datasets.truth import defect_mask


@pytest.mark.parametrize("truth", ["ground_truth", "grouth_truth"])
def test_the_folders_of_mvtec_are_the_labels(tmp_path: Path, truth: str) -> None:
    dataset = read(write_mvtec(tmp_path, truth))
    assert dataset.samples == (
        Sample("test/crack/0.png", "object", "test", True, "crack", f"{truth}/crack/0_mask.png"),
        Sample("test/good/0.png", "object", "test", False),
        Sample("train/good/0.png", "object", "train", False),
        Sample("train/good/1.png", "object", "train", False),
    )


def test_products_are_found_in_nested_folders(tmp_path: Path) -> None:
    write_mvtec(tmp_path / "COMP" / "lid")
    write_mvtec(tmp_path / "bolt")
    dataset = read(tmp_path)
    assert {sample.product for sample in dataset.samples} == {"COMP/lid", "bolt"}
    assert len(dataset.samples) == 8
    assert dataset.samples[0].mask == "COMP/lid/ground_truth/crack/0_mask.png"


def test_what_stands_beside_train_and_test_is_left_alone(tmp_path: Path) -> None:
    write_mvtec(tmp_path)
    (tmp_path / "README.md").write_text("a note")
    (tmp_path / "test" / ".cache").mkdir()
    (tmp_path / "test" / "good" / ".hidden.png").write_bytes(b"")
    assert len(read(tmp_path).samples) == 4


def test_meta_json_lists_images_with_their_labels(tmp_path: Path) -> None:
    write_images(tmp_path, "lid/a.png", "lid/b.png", "lid/c.png", "lid/b_mask.png")
    crack = meta_entry("lid/b.png", mask_path="lid/b_mask.png", specie_name="crack", anomaly=1)
    no_mask = meta_entry("lid/c.png", mask_path="lid", specie_name="", anomaly=1)
    write_json(tmp_path / "meta.json", {"train": {"lid": [meta_entry("lid/a.png")]}, "test": {"lid": [crack, no_mask]}})
    assert read(tmp_path).samples == (
        Sample("lid/a.png", "lid", "train", False),
        Sample("lid/b.png", "lid", "test", True, "crack", "lid/b_mask.png"),
        Sample("lid/c.png", "lid", "test", True, "anomaly"),
    )


def test_the_splits_may_stand_in_files_of_their_own(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    write_json(tmp_path / "meta_train.json", {"train": {"lid": [meta_entry("a.png")]}})
    write_json(tmp_path / "meta_test.json", {"test": {"lid": [meta_entry("b.png", specie_name="dent", anomaly=1)]}})
    assert [(sample.split, sample.label) for sample in read(tmp_path).samples] == [("train", "good"), ("test", "dent")]


@pytest.mark.parametrize(
    ("word", "is_anomaly"),
    [("normal", False), ("good", False), ("anomaly", True), ("error", True), ("Error", True), ("", None)],
)
def test_the_words_of_a_label_csv(tmp_path: Path, word: str, is_anomaly: bool | None) -> None:
    write_images(tmp_path, "images/part-7.png")
    (tmp_path / "labels.csv").write_text(f"image_id, label, description\npart-7, {word}, seen by Ann\n")
    (sample,) = read(tmp_path).samples
    assert (sample.path, sample.is_anomaly, sample.note) == ("images/part-7.png", is_anomaly, "seen by Ann")
    assert sample.defect == ("anomaly" if is_anomaly else None) and sample.split is None


@pytest.mark.parametrize("image_id", ["images/7.png", "7.png", "7"])
def test_a_label_csv_names_an_image_by_path_name_or_stem(tmp_path: Path, image_id: str) -> None:
    write_images(tmp_path, "images/7.png", "images/8.png")
    (tmp_path / "truth.csv").write_text(f"image_id,label,description\n{image_id},good,\n")
    assert read(tmp_path).samples[0].path == "images/7.png"


def test_a_label_csv_from_a_spreadsheet_may_have_more_columns(tmp_path: Path) -> None:
    write_images(tmp_path, "7.png", "m/7.png")
    columns = "image_id,label,description,split,product,defect_class,mask"
    text = f'\ufeff{columns}\r\n7.png,error,"deep,\r\nlong",test,lid,crack,m/7.png\r\n'
    (tmp_path / "labels.csv").write_bytes(text.encode())
    expected = Sample("7.png", "lid", "test", True, "crack", "m/7.png", note="deep,\nlong")
    assert read(tmp_path).samples == (expected,)


def coco_file(*annotations: tuple[int, int, list[float]]) -> dict[str, object]:
    return {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "categories": [{"id": 5, "name": "crack"}, {"id": 6, "name": "dent"}],
        "annotations": [
            {"image_id": image, "category_id": category, "bbox": box} for image, category, box in annotations
        ],
    }


def test_coco_boxes_make_anomalies_of_the_largest_class(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    write_json(tmp_path / "annotations.json", coco_file((2, 5, [6, 1, 1, 1]), (2, 6, [1, 2, 3, 4])))
    assert read(tmp_path).samples == (
        Sample("a.png", is_anomaly=False),
        Sample("b.png", is_anomaly=True, defect="dent", boxes=(Box(1, 2, 3, 4), Box(6, 1, 1, 1))),
    )


def test_coco_files_in_train_and_test_say_the_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_images(tmp_path / split, "a.png", "b.png")
        write_json(tmp_path / split / "_annotations.coco.json", coco_file((1, 5, [0, 0, 2, 2])))
    found = [(sample.path, sample.split, sample.is_anomaly) for sample in read(tmp_path).samples]
    assert found[:2] == [("test/a.png", "test", True), ("test/b.png", "test", False)] and len(found) == 4


def test_coco_boxes_beside_another_layout_are_added_to_it(tmp_path: Path) -> None:
    write_mvtec(tmp_path)
    content = coco_file((1, 5, [1, 1, 2, 2])) | {"images": [{"id": 1, "file_name": "test/crack/0.png"}]}
    write_json(tmp_path / "annotations.json", content)
    samples = read(tmp_path).samples
    assert [sample.boxes for sample in samples] == [(Box(1, 1, 2, 2),), (), (), ()] and samples[0].split == "test"


def test_groups_are_read_by_path_or_name_and_the_last_column_counts(tmp_path: Path) -> None:
    write_mvtec(tmp_path)
    (tmp_path / "groups.csv").write_text("image,piece,block\ntest/crack/0.png,p1,b1\n1.png,p2,b1\n")
    groups = {sample.path: sample.group for sample in read(tmp_path).samples}
    assert groups == {
        "test/crack/0.png": "b1",
        "test/good/0.png": None,
        "train/good/0.png": None,
        "train/good/1.png": "b1",
    }


def test_a_mask_a_box_and_a_good_image_say_where_defects_are(tmp_path: Path) -> None:
    dataset = read(write_mvtec(tmp_path))
    masks = {sample.path: defect_mask(dataset, sample) for sample in dataset.samples}
    drawn, none = masks["test/crack/0.png"], masks["test/good/0.png"]
    assert drawn is not None and drawn.shape == (8, 12) and drawn.sum() == 8
    assert none is not None and none.shape == (8, 12) and not none.any()
    boxed = defect_mask(dataset, Sample("test/crack/0.png", is_anomaly=True, boxes=(Box(1, 2, 2.5, 3),)))
    assert boxed is not None and boxed.sum() == 9 and boxed[2:5, 1:4].all()
    assert defect_mask(dataset, Sample("test/crack/0.png", is_anomaly=True)) is None

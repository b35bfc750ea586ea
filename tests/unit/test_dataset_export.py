"""What was exported is read back as the same data set."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import DatasetInvalid, FileInTheWay
from tests.command import Command
from tests.unit.dataset_files import write_images, write_mvtec
from workers.datasets.export import export
from workers.datasets.read import read
from workers.datasets.sample import Box, Dataset, Sample, Split

names = st.text(st.characters(min_codepoint=33, max_codepoint=0x250, categories=["L", "N"]), min_size=1, max_size=6)
products = st.lists(names, min_size=1, max_size=2).map("/".join) | st.just("object")
pixels = st.integers(1, 4).map(float)
boxes = st.builds(Box, pixels, pixels, pixels, pixels)
splits: st.SearchStrategy[Split] = st.sampled_from(["train", "test"])


@st.composite
def samples(draw: st.DrawFn, number: int, whole: bool) -> Sample:
    """whole: with a split and a label, and without a note, as every format can keep it."""
    is_anomaly = draw(st.booleans() if whole else st.sampled_from([True, False, None]))
    split = draw(splits if whole else st.none() | splits)
    with_mask = bool(is_anomaly) and split == "test" and draw(st.booleans())
    return Sample(
        path=f"{draw(names)}/{draw(names)}-{number}.png",
        product=draw(products),
        split=split,
        is_anomaly=is_anomaly,
        defect=draw(names.filter(lambda name: name != "good")) if is_anomaly else None,
        mask=f"masks/{number}.png" if with_mask else None,
        boxes=tuple(sorted(draw(st.lists(boxes, max_size=2, unique=True)))) if is_anomaly else (),
        group=draw(st.none() | names),
        note="" if whole else draw(st.text("ab,\"'\n", max_size=8)).strip(),
    )


@st.composite
def datasets(draw: st.DrawFn, whole: bool) -> list[Sample]:
    drawn = [draw(samples(number, whole)) for number in range(draw(st.integers(1, 5)))]
    return sorted(drawn, key=lambda sample: sample.path)


def written(root: Path, drawn: list[Sample]) -> Dataset:
    for sample in drawn:
        write_images(root, sample.path, *([sample.mask] if sample.mask else []))
    return Dataset(root, tuple(drawn))


def through(dataset: Dataset, out: Path, format: str) -> Dataset:
    export(dataset, out, format)
    return read(out)


@settings(max_examples=40, deadline=None)
@given(datasets(whole=False))
def test_csv_gives_back_every_data_set(drawn: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = written(Path(folder) / "in", drawn)
        assert through(dataset, Path(folder) / "out", "csv") == dataset


@settings(max_examples=40, deadline=None)
@given(datasets(whole=True))
def test_meta_gives_back_every_labelled_data_set(drawn: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = written(Path(folder) / "in", drawn)
        assert through(dataset, Path(folder) / "out", "meta") == dataset


@settings(max_examples=40, deadline=None)
@given(datasets(whole=True))
def test_mvtec_gives_back_everything_but_the_paths_and_those_once_they_are_its_own(drawn: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = written(Path(folder) / "in", drawn)
        try:
            first = through(dataset, Path(folder) / "first", "mvtec")
        except DatasetInvalid as refusal:
            assert refusal.what == "product"  # one below another has no place in the layout
            return
        assert through(first, Path(folder) / "second", "mvtec") == first

        def without_paths(dataset: Dataset) -> list[str]:
            return sorted(
                repr(replace(sample, path=Path(sample.path).name, mask=str(bool(sample.mask))))
                for sample in dataset.samples
            )

        assert without_paths(first) == without_paths(dataset)


@pytest.mark.parametrize("format", ["mvtec", "meta", "csv"])
def test_formats_lead_into_one_another(tmp_path: Path, format: str) -> None:
    dataset = read(write_mvtec(tmp_path / "in"))
    other = through(dataset, tmp_path / "other", format)
    assert through(other, tmp_path / "back", "mvtec") == dataset
    for sample in dataset.samples:
        assert (tmp_path / "back" / sample.path).read_bytes() == dataset.file(sample.path).read_bytes()


def test_anomalyclips_loader_finds_its_keys_and_files(tmp_path: Path) -> None:
    export(read(write_mvtec(tmp_path / "in")), tmp_path / "out", "meta")
    listed = json.loads((tmp_path / "out" / "meta.json").read_text())
    (crack, good) = listed["test"]["object"]
    assert crack == {
        "img_path": "test/crack/0.png",
        "mask_path": "ground_truth/crack/0_mask.png",
        "cls_name": "object",
        "specie_name": "crack",
        "anomaly": 1,
    }
    assert (good["specie_name"], good["anomaly"], good["mask_path"]) == ("good", 0, "")
    assert (tmp_path / "out" / crack["mask_path"]).is_file() and len(listed["train"]["object"]) == 2


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    drawn = [Sample(f"{day}/1.png", split="train", is_anomaly=False) for day in ("monday", "tuesday")]
    out = through(written(tmp_path / "in", drawn), tmp_path / "out", "mvtec")
    assert [sample.path for sample in out.samples] == ["train/good/monday_1.png", "train/good/tuesday_1.png"]


def test_a_name_that_cannot_be_told_apart_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    drawn = [
        Sample(path, split="test", is_anomaly=True, defect="dent", mask=f"masks/{number}.png")
        for number, path in enumerate(("a/1.png", "b/1.jpg"))
    ]
    with pytest.raises(DatasetInvalid, match=r"1_mask\.png'; allowed: a name that"):
        export(written(tmp_path / "in", drawn), tmp_path / "out", "mvtec")
    assert [folder.name for folder in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("format", ["mvtec", "meta"])
@pytest.mark.parametrize(
    ("sample", "what"), [(Sample("a.png", is_anomaly=False), "split"), (Sample("a.png", split="test"), "label")]
)
def test_a_format_with_splits_and_labels_needs_both(tmp_path: Path, format: str, sample: Sample, what: str) -> None:
    with pytest.raises(DatasetInvalid) as caught:
        export(written(tmp_path / "in", [sample]), tmp_path / "out", format)
    assert caught.value.what == what and caught.value.where == tmp_path / "in" / "a.png"


@pytest.mark.parametrize("product", ["train", "lid/test", "a/b/c/d"])
def test_a_product_that_would_not_be_found_again_is_refused(tmp_path: Path, product: str) -> None:
    sample = Sample("a.png", product=product, split="train", is_anomaly=False)
    with pytest.raises(DatasetInvalid, match="product"):
        export(written(tmp_path / "in", [sample]), tmp_path / "out", "mvtec")


def test_the_command_says_what_was_left_out_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adline = Command(tmp_path, monkeypatch, capsys)
    write_images(tmp_path / "in", "a.png")
    (tmp_path / "in" / "labels.csv").write_text("image_id,label,description,split\na,good,by Ann,train\n")
    assert adline("dataset", "export", "in", "out") == 0
    assert "1 descriptions were left out" in adline.err and "out: 1 images" in adline.out
    assert (tmp_path / "out" / "train" / "good" / "a.png").is_file()
    assert adline("dataset", "export", "in", "out") == 1 and "already there" in adline.err
    shutil.rmtree(tmp_path / "out")
    assert adline("dataset", "export", "in", "out", "--format", "yolo") == 2
    with pytest.raises(FileInTheWay):
        export(read(tmp_path / "in"), tmp_path / "in", "csv")

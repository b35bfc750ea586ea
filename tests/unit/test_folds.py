from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import DatasetInvalid
from workers.datasets.folds import folds, group_of, one_product, with_split
from workers.datasets.sample import Dataset, Sample


def parts(count: int, per_group: int = 3) -> list[Sample]:
    """Every fourth group is defective."""
    return [
        Sample(
            f"{group}-{view}.png",
            is_anomaly=group % 4 == 0,
            defect="crack" if group % 4 == 0 else None,
            group=str(group),
        )
        for group in range(count)
        for view in range(per_group)
    ]


def dataset(samples: list[Sample]) -> Dataset:
    return Dataset(Path("plant"), tuple(samples))


def test_a_group_is_never_split_between_folds_and_each_image_is_judged_once() -> None:
    samples = parts(20)
    judged_once: list[int] = []
    for taught, judged in folds(samples, 5, seed=1):
        assert not {group_of(samples[place]) for place in taught} & {group_of(samples[place]) for place in judged}
        assert sorted(taught + judged) == list(range(len(samples)))
        assert any(samples[place].is_anomaly for place in judged)
        judged_once += judged
    assert sorted(judged_once) == list(range(len(samples)))


def test_images_without_a_group_are_parted_one_by_one() -> None:
    samples = [Sample(f"{number}.png", is_anomaly=False) for number in range(10)]
    assert [len(judged) for _, judged in folds(samples, 5, seed=0)] == [2] * 5


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(ValueError, match="4 groups cannot be parted into 5 folds"):
        folds(parts(4), 5, seed=0)


def test_without_a_split_good_groups_are_drawn_to_learn_from() -> None:
    split = with_split(dataset(parts(40)), seed=2)
    taught = [sample for sample in split.samples if sample.split == "train"]
    judged = [sample for sample in split.samples if sample.split == "test"]
    assert not any(sample.is_anomaly for sample in taught)
    assert len(taught) == 3 * round(0.6 * 30) and len(taught) + len(judged) == 120
    assert not {sample.group for sample in taught} & {sample.group for sample in judged}
    assert with_split(dataset(parts(40)), seed=2) == split != with_split(dataset(parts(40)), seed=3)


def test_a_good_image_of_a_defective_part_is_not_learned_from() -> None:
    samples = [*parts(40), Sample("other-side.png", is_anomaly=False, group="0")]
    split = with_split(dataset(samples), seed=2)
    assert next(sample for sample in split.samples if sample.path == "other-side.png").split == "test"


def test_a_split_that_the_data_set_has_is_kept() -> None:
    samples = [Sample("a.png", split="train", is_anomaly=False), Sample("b.png", is_anomaly=False)]
    assert with_split(dataset(samples), seed=0) == dataset(samples)


def test_an_unknown_product_is_answered_with_those_there_are() -> None:
    both = dataset([Sample("a.png", product="lid"), Sample("b.png", product="bolt")])
    assert one_product(both, "lid").samples == (Sample("a.png", product="lid"),)
    for asked in (None, "nut"):
        with pytest.raises(DatasetInvalid, match="allowed: bolt, lid"):
            one_product(both, asked)

"""Parting a data set so that images of one group stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from storage.errors import DatasetInvalid
from workers.datasets.sample import Dataset, Sample

TAUGHT_SHARE: Final = 0.6  # of the groups without an anomaly, where the data set does not say


def group_of(sample: Sample) -> str:
    """A sample without a group is one of its own."""
    return sample.path if sample.group is None else f"group {sample.group}"


def with_split(dataset: Dataset, seed: int) -> Dataset:
    """As it is when it says which images to learn from; else good groups are drawn to learn from, the rest to judge."""
    if any(sample.split is not None for sample in dataset.samples):
        return dataset
    defective = {group_of(sample) for sample in dataset.samples if sample.is_anomaly is not False}
    good = sorted({group_of(sample) for sample in dataset.samples} - defective)
    drawn = np.random.default_rng(seed).permutation(len(good))[: round(TAUGHT_SHARE * len(good))]
    taught = {good[place] for place in drawn}
    samples = (replace(one, split="train" if group_of(one) in taught else "test") for one in dataset.samples)
    return Dataset(dataset.root, tuple(samples))


def all_to_judge(dataset: Dataset) -> Dataset:
    """As it is when it says which images to learn from; else nothing is learned from any."""
    if any(sample.split is not None for sample in dataset.samples):
        return dataset
    return Dataset(dataset.root, tuple(replace(one, split="test") for one in dataset.samples))


def folds(samples: Sequence[Sample], count: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Places to learn from and places to judge, `count` times; each is judged once, the classes are spread evenly."""
    groups = [group_of(sample) for sample in samples]
    if len(set(groups)) < count:
        raise ValueError(f"{len(set(groups))} groups cannot be parted into {count} folds")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    parted = splitter.split(groups, [sample.label for sample in samples], groups)
    return [(taught.tolist(), judged.tolist()) for taught, judged in parted]


def one_product(dataset: Dataset, product: str | None) -> Dataset:
    """A detector is taught one product; with several in the data set one must be chosen."""
    there = sorted({sample.product for sample in dataset.samples})
    if product is None and len(there) == 1:
        return dataset
    if product not in there:
        raise DatasetInvalid(dataset.root, "product", given=product, allowed=", ".join(there))
    return Dataset(dataset.root, tuple(sample for sample in dataset.samples if sample.product == product))

"""Whether train and test share what they must not: then the figures are better than the line will be."""

from __future__ import annotations

from workers.datasets.near_duplicates import NEAR, Pair, equal_files, near_pairs, perceptual_hash
from workers.datasets.sample import Dataset
from workers.datasets.truth import pixels

HASHED_SIDE = 64


def hashes(dataset: Dataset) -> list[int]:
    """The perceptual hash of each sample; a JPEG is decoded small."""
    return [perceptual_hash(pixels(dataset, sample.path, minimum_side=HASHED_SIDE)) for sample in dataset.samples]


def leak_warnings(dataset: Dataset) -> list[str]:
    return warnings(dataset, equal_files(dataset), near_pairs(dataset.samples, hashes(dataset)))


def warnings(dataset: Dataset, equal: list[Pair], near: list[Pair]) -> list[str]:
    """A sentence for each way in which images of train are in test too."""
    told = [
        f"train and test share {len(leaks)} pairs of images that are {how}, such as "
        f"{leaks[0].first.path} and {leaks[0].second.path}"
        for how, pairs in (
            ("equal to the byte", equal),
            (f"nearly the same (perceptual hash, at most {NEAR} of 64 bits differ)", near),
        )
        if (leaks := [pair for pair in pairs if pair.leaks])
    ]
    return told + group_warnings(dataset)


def group_warnings(dataset: Dataset) -> list[str]:
    splits: dict[str, set[str | None]] = {}
    for sample in dataset.samples:
        if sample.group is not None:
            splits.setdefault(sample.group, set()).add(sample.split)
    both = sorted(group for group, found in splits.items() if {"train", "test"} <= found)
    if not both:
        return []
    return [f"{len(both)} groups have images in both train and test: {', '.join(both[:5])}"]

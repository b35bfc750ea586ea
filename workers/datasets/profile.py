"""What is in a data set, and what may be wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from workers.datasets import quality
from workers.datasets.embedding import Embedder, Vectors, components, outlier_scores
from workers.datasets.leaks import hashes, warnings
from workers.datasets.near_duplicates import NEAR, Pair, equal_files, near_pairs
from workers.datasets.quality import Quality
from workers.datasets.sample import Dataset, Sample
from workers.datasets.truth import pixels

METHOD: Final = f"64-bit perceptual hash (DCT), at most {NEAR} bits differ"
FEWEST: Final = 3  # images; fewer have neither components nor outliers


@dataclass(frozen=True)
class Profile:
    """Places are those of the samples; lists begin with the clearest case."""

    dataset: Dataset
    qualities: list[Quality]
    equal: list[Pair]
    near: list[Pair]
    components: Vectors
    outlier_scores: Vectors
    warnings: list[str]

    @property
    def blurred(self) -> list[int]:
        return quality.blurred(self.qualities)

    @property
    def misexposed(self) -> list[int]:
        return quality.misexposed(self.qualities)

    @property
    def outliers(self) -> list[int]:
        order = np.argsort(-self.outlier_scores, kind="stable")
        return [int(place) for place in order if self.outlier_scores[place] > 0]


def profile(dataset: Dataset, progress: Callable[[str], None]) -> Profile:
    """Look at every image; DatasetInvalid names one that cannot be decoded."""
    progress("comparing images")
    equal, near = equal_files(dataset), near_pairs(dataset.samples, hashes(dataset))
    progress("looking at images")
    embedder = Embedder()

    def look(sample: Sample) -> tuple[Quality, Vectors]:
        image = pixels(dataset, sample.path, minimum_side=embedder.image_size)
        return quality.measure(image), embedder.vector(image)

    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        qualities, vectors = map(list, zip(*pool.map(look, dataset.samples), strict=True))
    few = len(vectors) < FEWEST
    found = np.zeros((len(vectors), 2)) if few else components(np.array(vectors))
    scores = np.zeros(len(vectors)) if few else outlier_scores(found)
    return Profile(dataset, qualities, equal, near, found, scores, warnings(dataset, equal, near))


def summary(profile: Profile) -> dict[str, Any]:
    """The profile as one JSON object."""
    samples = profile.dataset.samples
    return {
        "images": len(samples),
        "counts": counts(profile.dataset),
        "products": sorted({sample.product for sample in samples}),
        "groups": len({sample.group for sample in samples if sample.group is not None}),
        "with_mask": sum(sample.mask is not None for sample in samples),
        "with_boxes": sum(bool(sample.boxes) for sample in samples),
        "equal_files": [[pair.first.path, pair.second.path] for pair in profile.equal],
        "near_duplicate_method": METHOD,
        "near_duplicates": [
            {"first": pair.first.path, "second": pair.second.path, "bits": pair.distance} for pair in profile.near
        ],
        "blurred": [
            {"image": samples[place].path, "sharpness": profile.qualities[place].sharpness} for place in profile.blurred
        ],
        "misexposed": [
            {
                "image": samples[place].path,
                "brightness": profile.qualities[place].brightness,
                "clipped": profile.qualities[place].clipped,
            }
            for place in profile.misexposed
        ],
        "outliers": [
            {"image": samples[place].path, "score": float(profile.outlier_scores[place])} for place in profile.outliers
        ],
        "warnings": profile.warnings,
    }


def counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Images by split, then by class."""
    counted = Counter((sample.split or "no split", sample.label) for sample in dataset.samples)
    found: dict[str, dict[str, int]] = {}
    for (split, label), count in sorted(counted.items()):
        found.setdefault(split, {})[label] = count
    return found

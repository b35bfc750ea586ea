"""A profile as one HTML page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from workers.datasets.gallery import thumbnail
from workers.datasets.near_duplicates import Pair
from workers.datasets.page import page, paragraph, picture, plot, row, section, table, warning
from workers.datasets.profile import METHOD, Profile, counts
from workers.datasets.truth import pixels

SHOWN = 12
SMALL = 224


def profile_page(profile: Profile) -> str:
    samples, qualities = profile.dataset.samples, profile.qualities
    by_class = [
        (split, label, count) for split, found in counts(profile.dataset).items() for label, count in found.items()
    ]

    def shown(title: str, places: list[int], told: Callable[[int], str]) -> str:
        pictures = [small(profile, samples[place].path, told(place)) for place in places[:SHOWN]]
        return section(f"{title}: {len(places)}", row(pictures))

    return page(
        f"Data set {profile.dataset.root.absolute().name}",
        *map(warning, profile.warnings),
        section(f"Images: {len(samples)}", table(("split", "class", "images"), by_class)),
        section(f"Equal to the byte: {len(profile.equal)} pairs", pairs(profile, profile.equal)),
        section(f"Nearly the same: {len(profile.near)} pairs", paragraph(METHOD), pairs(profile, profile.near)),
        shown("Blurred", profile.blurred, lambda place: f"sharpness {qualities[place].sharpness:.1f}"),
        shown("Badly exposed", profile.misexposed, lambda place: f"brightness {qualities[place].brightness:.2f}"),
        section(
            "Embeddings", paragraph("Principal components of what the default detector sees."), plot(scatter(profile))
        ),
        shown("Outliers", profile.outliers, lambda place: f"score {profile.outlier_scores[place]:.3f}"),
    )


def pairs(profile: Profile, found: list[Pair]) -> str:
    pictures = []
    for pair in found[: SHOWN // 2]:
        told = "equal" if pair.distance is None else f"{pair.distance} bits"
        pictures += [small(profile, one.path, told) for one in (pair.first, pair.second)]
    return row(pictures)


def small(profile: Profile, path: str, told: str) -> str:
    return picture(thumbnail(pixels(profile.dataset, path, minimum_side=SMALL)), f"{told}: {path}")


def scatter(profile: Profile) -> Figure:
    figure = Figure(figsize=(8, 6))
    axes = figure.subplots()
    labels = np.array([sample.label for sample in profile.dataset.samples])
    for label in sorted(set(labels.tolist())):
        x, y = profile.components[labels == label, :2].T
        axes.scatter(x, y, s=14, alpha=0.7, label=label)
    axes.set(xlabel="first component", ylabel="second component")
    axes.legend(loc="upper right")
    return figure

"""Which known-good images are learned from and which are held out to calibrate on: never two of one part.

Either once, or by turns: then each part is held out of one of several models, and all parts are calibrated on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from storage.errors import TeachingFailed
from workers.detectors.calibration import parts_needed

LEAST_TAUGHT = 10  # parts

Folds = list[list[int]]
"""Places in the order of the images; each image is in one fold."""


class Division(NamedTuple):
    """Places in the order of the images."""

    kept: list[int]
    held_out: list[int]
    held_out_groups: list[str]
    """The group of each held-out image."""


def named(count: int, groups: Sequence[str] | None) -> Sequence[str]:
    """The group of each image; without groups each shows a part of its own."""
    if groups is None:
        return [str(number) for number in range(count)]
    if len(groups) != count:
        raise TeachingFailed(f"{count} known-good images were given and {len(groups)} groups; allowed: one an image")
    return groups


def divide(
    groups: Sequence[str], share: float, target_false_reject_rate: float, seed: int, least_taught: int = LEAST_TAUGHT
) -> Division:
    """Hold out at least this share of the parts, drawn at random; images of one part have the same group."""
    distinct = list(dict.fromkeys(groups))
    needed = parts_needed(target_false_reject_rate)
    if len(distinct) < needed + least_taught:
        raise TeachingFailed(
            f"{given(len(groups), len(distinct))}; a false-reject rate of {target_false_reject_rate:g} "
            f"needs at least {needed + least_taught} ({needed} are held out to calibrate on, "
            f"{least_taught} to learn from)",
            needed=needed + least_taught,
            given=len(distinct),
        )
    count = max(needed, round(share * len(distinct)))
    order = np.random.default_rng(seed).permutation(len(distinct))
    drawn = {distinct[place] for place in order[:count]}
    held_out = [place for place, group in enumerate(groups) if group in drawn]
    kept = [place for place, group in enumerate(groups) if group not in drawn]
    return Division(kept, held_out, [groups[place] for place in held_out])


def folds_of(groups: Sequence[str], count: int, target_false_reject_rate: float, seed: int) -> Folds:
    """As many folds of equally many parts, drawn at random; images of one part have the same group."""
    distinct = list(dict.fromkeys(groups))
    needed = least_parts(count, target_false_reject_rate)
    if len(distinct) < needed:
        raise TeachingFailed(
            f"{given(len(groups), len(distinct))}; a false-reject rate of {target_false_reject_rate:g} "
            f"needs at least {needed}",
            needed=needed,
            given=len(distinct),
        )
    order = np.random.default_rng(seed).permutation(len(distinct)).tolist()
    fold_of = {distinct[place]: number % count for number, place in enumerate(order)}
    return [[place for place, group in enumerate(groups) if fold_of[group] == fold] for fold in range(count)]


def least_parts(folds: int, target_false_reject_rate: float) -> int:
    """Enough to calibrate on, and to learn from while one fold is held out."""
    parts = max(parts_needed(target_false_reject_rate), folds)
    while parts - math.ceil(parts / folds) < LEAST_TAUGHT:
        parts += 1
    return parts


def given(images: int, parts: int) -> str:
    if parts == images:
        return f"{images} known-good images were given"
    return f"{images} known-good images of {parts} parts were given"

"""Which parts an operator should label next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.detectors.detector import Prediction

NEAREST = 3  # times as many uncertain parts as are asked, to choose unlike ones among


def ask(
    candidates: Sequence[Prediction], count: int, *, threshold: float, labelled: Sequence[Prediction] = ()
) -> list[int]:
    """Places of the candidates to label next, the most wanted first; all of them when there are no more than `count`.

    Among those nearest to the threshold the most unlike ones, also unlike what is labelled already: several images of
    one part tell little more than one (greedy k-center; Sener, Savarese, "Active Learning for Convolutional Neural
    Networks: A Core-Set Approach", ICLR 2018). Detectors without embeddings are asked about by nearness alone.

    threshold: the one below which a part is OK. About the NG threshold of a one-class detector hardly a good part is
    asked: 16 groups with one among 50 images of magnetic tiles, too few to calibrate what was learned, so that nobody
    hears it (`enough_good`); about the OK threshold 19, and what is learned ranks best, too.
    """
    away = np.array([abs(one.anomaly_score - threshold) for one in candidates])
    nearest: list[int] = np.argsort(away, kind="stable").tolist()
    if any(one.embedding is None for one in candidates):
        return nearest[:count]
    shortlist = nearest[: NEAREST * count]
    known = [one.embedding for one in labelled if one.embedding is not None]
    looks = standardised([candidates[place].embedding for place in shortlist], known)
    return [shortlist[place] for place in most_unlike(looks[: len(shortlist)], looks[len(shortlist) :], count)]


def standardised(
    shortlist: Sequence[NDArray[np.float32] | None], known: Sequence[NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Rows of unit spread in each channel, the shortlist's first."""
    rows = np.array([*shortlist, *known], np.float64)
    spread = rows.std(0) if len(rows) else 1.0
    return np.asarray(rows / np.maximum(spread, np.finfo(np.float64).tiny))


def most_unlike(rows: NDArray[np.float64], known: NDArray[np.float64], count: int) -> list[int]:
    """Each pick is the row farthest from what is known and from the picks before it; the first row when nothing is."""
    farness = np.full(len(rows), np.inf)
    for one in known:
        farness = np.minimum(farness, np.square(rows - one).sum(1))
    picks: list[int] = []
    for _ in range(min(count, len(rows))):
        latest = int(farness.argmax())
        picks.append(latest)
        farness = np.minimum(farness, np.square(rows - rows[latest]).sum(1))
        farness[picks] = -1
    return picks

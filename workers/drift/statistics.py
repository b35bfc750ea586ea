"""Two samples of one number: how differently they are distributed, and by how much most of one has moved."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 10
QUANTILES: Final = (0.25, 0.5, 0.75)
SMOOTHING: Final = 0.5  # parts added to each bin: an empty one would be infinitely far

Floats = NDArray[np.float64]


def psi(reference: Floats, window: Floats) -> float:
    """Population stability index over the reference's deciles; customary: from .1 some drift, from .25 much.

    Two samples of n and m of one distribution have (BINS - 1) (1/n + 1/m) on average: small windows need the KS test.
    """
    cuts = np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1])
    counts = [np.bincount(np.searchsorted(cuts, one, side="right"), minlength=BINS) for one in (reference, window)]
    before, after = ((one + SMOOTHING) / (one.sum() + SMOOTHING * BINS) for one in counts)
    return float(((after - before) * np.log(after / before)).sum())


def ks(reference: Floats, window: Floats) -> tuple[float, float]:
    """Two-sample Kolmogorov-Smirnov: the largest distance of the two distributions, and how often chance has one."""
    from scipy.stats import ks_2samp  # half a second to import

    found = ks_2samp(reference, window, method="auto")
    return float(found.statistic), float(found.pvalue)


def rise_by_chance(reference: tuple[int, int], window: tuple[int, int]) -> float:
    """Fisher's exact test, one-sided: how often chance has so many more in the window; each is (count, of).

    Mid-p: of what is just as many, half counts. Else so discrete a test would be far rarer fooled than it says.
    """
    from scipy.stats import hypergeom

    drawn = hypergeom(reference[1] + window[1], reference[0] + window[0], window[1])
    return float(drawn.sf(window[0]) + drawn.pmf(window[0]) / 2)


def common_shift(reference: Floats, window: Floats) -> float:
    """By how much all of the window has moved: the smallest shift of its quartiles, 0 when they do not agree.

    Other light moves every part; more defective parts move one end of the distribution and leave the other.
    """
    shifts = np.quantile(window, QUANTILES) - np.quantile(reference, QUANTILES)
    if not (shifts > 0).all() and not (shifts < 0).all():
        return 0.0
    return float(shifts[np.abs(shifts).argmin()])


def shift_noise(reference: Floats, window: Floats) -> float:
    """The standard deviation that a quartile's shift has by chance, for samples as scattered as the reference."""
    low, high = np.quantile(reference, [0.25, 0.75])
    spread = max(float(high - low) / 1.349, 1e-6)
    return 1.25 * spread * float(np.sqrt(1 / len(reference) + 1 / len(window)))

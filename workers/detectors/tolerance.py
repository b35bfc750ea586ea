"""How far a computed quantity may be from the recorded one, by the dtype it is computed in; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

GRADIENTS: Final = "gradients"


@dataclass(frozen=True)
class Tolerance:
    """The largest difference that passes, relative to the quantity's largest magnitude where that is above 1."""

    most: float
    gradients: float

    def exceeded(self, differences: Mapping[str, float]) -> list[str]:
        """The quantities that are beyond; a difference that is not a number is beyond any."""
        return [name for name, found in differences.items() if not found <= self.allowed(name)]

    def allowed(self, quantity: str) -> float:
        return self.gradients if quantity == GRADIENTS else self.most


TOLERANCES: Final = {
    # The recorded gradients were computed in float32 and are themselves 1.25e-5 from what float64 computes: a gradient
    # slightly beyond on another BLAS, with all else within, is rounding.
    "float32": Tolerance(1e-5, 1e-5),
    "float64": Tolerance(1e-5, 2e-5),
    # Found of the published case on a CPU: 4.3e-3 and 2.3e-2 in float16, 3.2e-2 and .34 in bfloat16.
    "float16": Tolerance(1e-2, 5e-2),
    "bfloat16": Tolerance(5e-2, 5e-1),
}


def in_words() -> str:
    """The table for a help text."""
    return "; ".join(f"{dtype} {worded(one)}" for dtype, one in TOLERANCES.items())


def worded(one: Tolerance) -> str:
    return f"{one.most:g}" if one.most == one.gradients else f"{one.most:g}, gradients {one.gradients:g}"

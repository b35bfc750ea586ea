"""One thing the gate looks at."""

from __future__ import annotations

from dataclasses import dataclass

from workers.retrain.resampling import Interval


@dataclass(frozen=True)
class Check:
    """A figure of the champion and of the candidate, and whether the difference is allowed.

    interval: where the difference (after less before) lies with 95 % confidence; of a latency, the ratio.
    """

    name: str
    before: float
    after: float
    interval: Interval
    need: str
    passed: bool
    sentence: str
    """What happened, in words."""


def figure(value: float) -> str:
    """Three places, as the trade writes them: .936, -.012, 1.000."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def moved(name: str, before: float, after: float) -> str:
    """`scratch recall fell from .940 to .880`."""
    verb = "fell" if after < before else "rose" if after > before else "stayed"
    if verb == "stayed":
        return f"{name} stayed at {figure(after)}"
    return f"{name} {verb} from {figure(before)} to {figure(after)}"

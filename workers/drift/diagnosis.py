"""Why frames or scores are not what they were: the light, the focus, the position, or the parts themselves."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.drift import statistics
from workers.drift.look import SIDE
from workers.drift.sample import FrameSample, shift

FEWEST: Final = 20
"""Frames in reference and window below which nothing is said."""


class Cause(StrEnum):
    """What has changed."""

    NONE = "none"
    LIGHTING = "lighting"
    FOCUS = "focus"
    POSITION = "position"
    PARTS = "parts"
    MIXED = "mixed"
    UNKNOWN = "unknown"

    @property
    def is_camera(self) -> bool:
        """The images changed and not, or not only, the parts: scores say nothing about parts until it is mended."""
        return self in (Cause.LIGHTING, Cause.FOCUS, Cause.POSITION, Cause.MIXED)


@dataclass(frozen=True)
class Limits:
    """From where on a change is one. Brightness and sharpness as shares; position in pixels of a 256 pixel square."""

    brightness: float = 0.07
    sharpness: float = 0.12
    position: float = 0.75
    deviations: float = 4.0
    """Nor may chance explain it: so many standard deviations."""
    psi: float = 0.25
    chance: float = 0.001


@dataclass(frozen=True)
class Scores:
    """What the model said of the frames of a sample, with the threshold they were judged by."""

    values: NDArray[np.float64]
    ng_threshold: float
    projections: NDArray[np.float64] | None = None
    """(frames, directions) of what the frames look like to the model; None where nobody wrote them down."""

    @property
    def rejected(self) -> int:
        return int((self.values >= self.ng_threshold).sum())


@dataclass(frozen=True)
class Diagnosis:
    """What has changed, in figures and in a sentence.

    brightness and sharpness are factors less one: -.15 is 15 % darker. Pixels are those of the stored frame.
    """

    cause: Cause
    sentence: str
    brightness: float = 0.0
    sharpness: float = 0.0
    right_pixels: float = 0.0
    down_pixels: float = 0.0
    position_clear: float = 0.0
    psi: float | None = None
    ks: float | None = None
    ks_chance: float | None = None
    rejected_before: float | None = None
    rejected: float | None = None
    embedding_psi: float | None = None
    embedding_ks: float | None = None
    embedding_chance: float | None = None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "cause": self.cause.value}


def diagnose(
    reference: FrameSample,
    window: FrameSample,
    reference_scores: Scores | None = None,
    window_scores: Scores | None = None,
    limits: Limits | None = None,
) -> Diagnosis:
    """A change of the images comes before one of the scores: those follow from it."""
    limits = limits or Limits()
    if min(len(reference), len(window)) < FEWEST:
        few = f"{len(reference)} frames to compare with and {len(window)} new ones; {FEWEST} of each are needed"
        return Diagnosis(Cause.NONE, f"nothing can be said yet: {few}")
    light = change(reference.brightness, window.brightness, limits.brightness, limits)
    focus = change(reference.sharpness, window.sharpness, limits.sharpness, limits)
    right, down, clear = shift(reference.edges, window.edges)
    noise = math.hypot(reference.shift_noise, window.shift_noise)
    moved = math.hypot(right, down) / max(limits.position, limits.deviations * noise)
    pixels = (right * reference.width / SIDE, down * reference.height / SIDE)
    found = {
        Cause.LIGHTING: (light.strength, f"the frames are {light.percent} {'brighter' if light.by > 0 else 'darker'}"),
        Cause.FOCUS: (focus.strength, f"fine details are {focus.percent} {'stronger' if focus.by > 0 else 'weaker'}"),
        Cause.POSITION: (moved, f"the parts are seen {place(*pixels)}"),
    }
    scored = compare(reference_scores, window_scores)
    causes = [cause for cause, (strength, _) in found.items() if strength >= 1]
    cause = Cause.MIXED if len(causes) > 1 else causes[0] if causes else of_scores(scored, limits)
    said = " and ".join(found[one][1] for one in causes)
    return Diagnosis(
        cause=cause,
        sentence=f"{said}: {ADVICE[cause]}" if causes else told(cause, scored, limits),
        brightness=light.factor - 1,
        sharpness=focus.factor - 1,
        right_pixels=pixels[0],
        down_pixels=pixels[1],
        position_clear=clear,
        **(scored or {}),
    )


ADVICE: Final = {
    Cause.LIGHTING: "look at the lamp and the exposure, not at the parts",
    Cause.FOCUS: "look at the lens, not at the parts",
    Cause.POSITION: "the camera or the fixture has moved, not the parts got worse",
    Cause.MIXED: "more than one thing about the camera has changed",
}


@dataclass(frozen=True)
class Change:
    """By how much (a logarithm) and how far beyond its limit."""

    by: float
    strength: float

    @property
    def factor(self) -> float:
        return math.exp(self.by)

    @property
    def percent(self) -> str:
        return f"{100 * abs(self.factor - 1):.0f} %"


def confirmed(before: Cause | None, cause: Cause) -> bool:
    """Whether to raise an alarm. A window in the middle of which the camera moved has odd scores and still no shift:
    what only the scores tell is believed when the window before said so, too."""
    return cause.is_camera or (cause is not Cause.NONE and cause is before)


def change(reference: NDArray[np.float64], window: NDArray[np.float64], limit: float, limits: Limits) -> Change:
    by = statistics.common_shift(reference, window)
    chance = limits.deviations * statistics.shift_noise(reference, window)
    return Change(by, abs(by) / max(math.log1p(limit), chance))


RISE, SCORES, EMBEDDINGS = 0.6, 0.2, 0.2
"""The share of each test of the alarms that chance may make (Limits.chance): a rise of rejects matters most."""


def compare(reference: Scores | None, window: Scores | None) -> dict[str, float] | None:
    if reference is None or window is None or min(len(reference.values), len(window.values)) < FEWEST:
        return None
    distance, chance = statistics.ks(reference.values, window.values)
    return {
        "psi": statistics.psi(reference.values, window.values),
        "ks": distance,
        "ks_chance": min(1.0, chance / SCORES, rejects_by_chance(reference, window) / RISE),
        "rejected_before": reference.rejected / len(reference.values),
        "rejected": window.rejected / len(window.values),
        **compare_embeddings(reference.projections, window.projections),
    }


def compare_embeddings(reference: NDArray[np.float64] | None, window: NDArray[np.float64] | None) -> dict[str, float]:
    """The direction along which frames look the most different, and how often chance has one of them all so far."""
    if reference is None or window is None or min(len(reference), len(window)) < FEWEST:
        return {}
    found = [statistics.ks(before, after) for before, after in zip(reference.T, window.T, strict=True)]
    worst = min(range(len(found)), key=lambda place: found[place][1])
    distance, chance = found[worst]
    return {
        "embedding_psi": statistics.psi(reference[:, worst], window[:, worst]),
        "embedding_ks": distance,
        "embedding_chance": min(1.0, len(found) * chance / EMBEDDINGS),
    }


def rejects_by_chance(reference: Scores, window: Scores) -> float:
    """A rise of rejects shows in the tail, where KS is weak."""
    counts = [(one.rejected, len(one.values)) for one in (reference, window)]
    return statistics.rise_by_chance(counts[0], counts[1])


def of_scores(scored: dict[str, float] | None, limits: Limits) -> Cause:
    """Worse parts show in the scores; other parts that are no worse in the embeddings alone."""
    if scored is None:
        return Cause.NONE
    if differs(scored["ks_chance"], scored["psi"], limits):
        return Cause.PARTS if scored["rejected"] > scored["rejected_before"] else Cause.UNKNOWN
    if "embedding_chance" in scored and differs(scored["embedding_chance"], scored["embedding_psi"], limits):
        return Cause.UNKNOWN
    return Cause.NONE


def differs(chance: float, psi: float, limits: Limits) -> bool:
    return chance < limits.chance and psi >= limits.psi


def told(cause: Cause, scored: dict[str, float] | None, limits: Limits) -> str:
    if cause is Cause.NONE or scored is None:
        return "light, focus, position, scores and embeddings are as they were"
    rates = f"{100 * scored['rejected_before']:.0f} % to {100 * scored['rejected']:.0f} %"
    if cause is Cause.PARTS:
        return f"rejects rose from {rates} while light, focus and position are as they were: the parts got worse"
    if not differs(scored["ks_chance"], scored["psi"], limits):
        return (
            f"the parts look otherwise to the model (embedding PSI {scored['embedding_psi']:.2f}, KS "
            f"{scored['embedding_ks']:.2f}) while light, focus, position and scores are as they were"
        )
    return f"scores are distributed otherwise (PSI {scored['psi']:.2f}), with no cause to be seen in the images"


def place(right: float, down: float) -> str:
    """`4.8 pixels to the right and 1.2 up`."""
    across = f"{abs(right):.1f} pixels to the {'right' if right > 0 else 'left'}"
    return f"{across} and {abs(down):.1f} {'down' if down > 0 else 'up'}"

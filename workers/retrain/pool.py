"""The protected pool: images no training has seen, and what a model said of each of their parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PoolItem:
    """A protected image: its name (a SHA-256), the part it shows, the truth about it, and where its bytes are."""

    name: str
    part: str
    is_anomaly: bool
    read: Callable[[], bytes] = field(compare=False)
    defects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """What a model said of a protected image; a score of None is an image it could not score, for the reason given."""

    name: str
    part: str
    is_anomaly: bool
    defects: tuple[str, ...]
    anomaly_score: float | None
    milliseconds: float
    disturbed: dict[str, float | None] = field(default_factory=dict)
    """The scores of the same image darker, brighter, blurred and so on; only of those drawn for it."""
    failure: str | None = None

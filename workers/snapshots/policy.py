"""By which rules labelled images become a snapshot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """Kept with each snapshot; another one is another snapshot."""

    test_share: float = 0.2
    """Of the new parts, drawn whatever their verdict, that join the protected test pool."""
    validation_share: float = 0.1
    """Of the other parts."""
    fewest_lots: int = 10
    """From so many lots on whole lots are drawn; with fewer, parts are, and one lot may be on both sides."""
    doubt: float = 0.35
    """A label is set aside when images like it give it less than this probability."""
    strong_doubt: float = 0.25
    most_doubted: float = 0.05
    """A snapshot is unfit to train from when, for sure, more of its labels are strongly doubted: of clean labels 2 to
    4 % are, of labels of which every fifth was flipped 10 to 14 %."""

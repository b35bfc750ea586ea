"""How far long work is, told while it goes on; what is raised there ends it."""

from __future__ import annotations

from collections.abc import Callable

Told = Callable[[float], None]
"""How far it is, from 0 to 1."""


def within(told: Told | None, low: float, high: float) -> Told:
    """For a part of the work: from where to where in the whole."""

    def tell(share: float) -> None:
        if told is not None:
            told(low + (high - low) * share)

    return tell

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


class Progressing:
    """For work in several threads: each tells that it goes on, `done` of the parts are."""

    def __init__(self, told: Told | None, parts: int) -> None:
        self.told, self.parts, self.done = told, parts, 0

    def __call__(self, share: float) -> None:
        if self.told is not None:
            self.told(self.done / self.parts)

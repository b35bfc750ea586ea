"""An answer that many ask for again and again: found anew as long as that costs little."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

CHEAP_SECONDS = 0.2
"""What is found so quickly is never kept: nobody sees an old answer of a small line."""
SHARE = 0.05
"""Of the time, at most, in which a dear answer is being found, however many ask."""


class Kept(Generic[Answer]):
    """The answer of `find`; one caller finds it, the others wait for the same one."""

    def __init__(self, find: Callable[[], Answer], clock: Callable[[], float] = time.monotonic) -> None:
        self.find, self.clock, self.lock = find, clock, threading.Lock()
        self.answer: tuple[float, Answer] | None = None

    def get(self) -> Answer:
        with self.lock:
            if self.answer and self.clock() < self.answer[0]:
                return self.answer[1]
            began = self.clock()
            found = self.find()
            now = self.clock()
            cost = now - began
            self.answer = (now + cost / SHARE, found) if cost > CHEAP_SECONDS else None
            return found

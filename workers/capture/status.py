"""How a camera is, and how long to wait before it is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CameraState(StrEnum):
    CLOSED = "closed"
    OPENING = "opening"
    UP = "up"
    LOST = "lost"


@dataclass(frozen=True)
class CameraStatus:
    """How a camera is, for the health page."""

    state: CameraState
    since: datetime
    last_error: str | None = None


@dataclass(frozen=True)
class Backoff:
    """How long to wait before the next attempt to open: doubling, and scattered so that views do not try in step."""

    first_seconds: float = 0.5
    longest_seconds: float = 30.0

    def delay_seconds(self, attempt: int) -> float:
        """Attempts count from 1."""
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempt - 1, 30))
        return longest * random.uniform(0.5, 1.0)

"""An image whose truth is known, before it is split: what the pure part of a snapshot works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from storage.snapshot_models import ItemSource
from storage.snapshots import IMAGE, PART


@dataclass(frozen=True)
class Look:
    """What was measured of an image; embedding: as the default detector sees it, (channels,)."""

    sharpness: float
    brightness: float
    clipped: float
    perceptual_hash: int
    embedding: NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One image, its facts and what holds of it; of an image that several inspections saw, the newest label holds."""

    sha256: str
    md5: str
    size_bytes: int
    media_type: str
    width: int
    height: int
    source: ItemSource
    is_anomaly: bool
    camera: str | None = None
    inspection_id: UUID | None = None
    part_ids: tuple[str, ...] = ()
    """Every serial number under which the image was seen, the newest last."""
    group: str | None = None
    """Of an image the recipe is taught from: its part, where the plant told it."""
    lots: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    regions: tuple[dict[str, Any], ...] = ()
    label_id: UUID | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    anomaly_score: float | None = None
    said: tuple[tuple[str, bool], ...] = ()
    """What each person who could tell said last of it."""
    marked_elsewhere: bool = False
    """The defect was marked, and on other views alone: this one may show none."""
    look: Look | None = field(default=None, compare=False)
    problem: str | None = None
    """Why the image cannot be looked at."""

    @property
    def image_key(self) -> str:
        return IMAGE + self.sha256

    @property
    def keys(self) -> list[str]:
        """Everything its part is known by, the best name first."""
        return [
            *(PART + one for one in self.part_ids),
            *([f"group:{self.group}"] if self.group else []),
            self.image_key,
        ]

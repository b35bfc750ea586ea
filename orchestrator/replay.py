"""A recorded verdict, reached again from the evidence: the stored images and the model of that day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from storage import audit
from storage.errors import InspectionFailed, NotOnRecord
from storage.image_store import ImageStore

TOLERANCE = 1e-3
"""Relative: another processor, or a batch of another size, adds the same numbers in another order."""


@dataclass(frozen=True)
class ReplayedView:
    """One frame's score on record, and the one its evidence gives today."""

    camera: str
    sha256: str
    model_version: str
    recorded_score: float
    replayed_score: float | None
    trouble: str = ""

    @property
    def same(self) -> bool:
        score = self.replayed_score
        return score is not None and math.isclose(score, self.recorded_score, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def replay(session: Session, name: str, home: Path) -> list[ReplayedView]:
    """Every scored view of the inspection, scored again; NotOnRecord when it was never scored."""
    views = [view for view in audit.part(session, name) if view["model_version"]]
    if not views:
        raise NotOnRecord(f"no scored view of part or inspection {name!r} is on record")
    return [replayed(session, view, home) for view in views]


def replayed(session: Session, view: dict[str, Any], home: Path) -> ReplayedView:
    try:
        score, trouble = scored(session, view, home), ""
    except InspectionFailed as error:
        score, trouble = None, str(error)
    return ReplayedView(view["camera"], view["sha256"], view["model_version"], view["anomaly_score"], score, trouble)


def scored(session: Session, view: dict[str, Any], home: Path) -> float:
    from storage.images import decode  # OpenCV and torch are heavy: only where they are used
    from workers.detectors.registry import load
    from workers.detectors.tiles import WHOLE, Tiles

    recipe = audit.recipe_configuration(session, view["recipe"], view["recipe_version"])
    side = Tiles.parse(recipe.get("tiles", WHOLE)).minimum_side(recipe["image_size"])
    pixels = decode(ImageStore(home / "images").get(view["sha256"]), minimum_side=side, maximum_megapixels=10_000)
    detector = load(home / "models" / view["model_version"], view["model_sha256"])
    (answer,) = detector.predict([pixels])
    if isinstance(answer, InspectionFailed):
        raise answer
    return answer.anomaly_score

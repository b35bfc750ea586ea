"""Stored parts judged anew by two versions, by the very decision that the line makes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.registry import Registry
from storage import deployments, model_versions, thresholds
from storage.deployments import Alias
from storage.errors import DeploymentRefused, InspectionFailed, ScoreInvalid
from storage.events import PredictionFacts, Verdict
from storage.image_store import ImageStore
from storage.images import decode
from storage.model_versions import StoredPart, StoredView
from storage.models import ModelVersion
from storage.thresholds import Thresholds
from workers.detectors.detector import Detector
from workers.detectors.registry import load
from workers.detectors.tiles import WHOLE, Tiles
from workers.inference.verdict import decide


@dataclass(frozen=True)
class JudgedAnew:
    """A part that both versions judged; the random sample left out."""

    inspection_id: UUID
    part_id: str | None
    station: str
    triggered_at: datetime
    before_score: float
    score: float
    before: Verdict
    now: Verdict
    on_record: str


@dataclass
class Evaluation:
    """What came of it; `rescored` counts frames that had to be scored again, as no record had their score."""

    version: str
    against: str
    parts: int = 0
    rescored: int = 0
    changed: list[JudgedAnew] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return asdict(self)


class Judge:
    """A version, loaded when a frame has no score of it yet."""

    def __init__(self, registry: Registry, images: Path, version: ModelVersion) -> None:
        self.registry, self.store, self.version = registry, ImageStore(images), version
        self.thresholds: Thresholds = thresholds.in_force(registry.session, version.recipe, version)
        self.detector: Detector | None = None
        self.rescored = 0

    def judge(self, part: StoredPart) -> tuple[float, Verdict]:
        facts = [
            PredictionFacts.model_construct(
                camera=view.camera,
                anomaly_score=self.score(part, view),
                ok_threshold=self.thresholds.ok,
                ng_threshold=self.thresholds.ng,
            )
            for view in part.views
        ]
        decision = decide(part.inspection_id, facts, sample_rate=0.0)
        return max(one.anomaly_score for one in facts), decision.verdict

    def score(self, part: StoredPart, view: StoredView) -> float:
        """The score on record, else that of the stored pixels."""
        known = view.scores.get(self.version.id)
        if known is not None:
            return known
        if self.detector is None:
            self.detector = load(self.registry.models / self.version.id, self.version.sha256)
        tiles = Tiles.parse(part.configuration.get("tiles", WHOLE))
        side = tiles.minimum_side(part.configuration.get("image_size", self.detector.image_size))
        pixels = decode(self.store.get(view.sha256), minimum_side=side, maximum_megapixels=10_000)
        (answer,) = self.detector.predict([pixels])
        if isinstance(answer, InspectionFailed):
            raise answer
        if not 0 <= answer.anomaly_score <= 1:
            raise ScoreInvalid(f"{self.version.id} answered {answer.anomaly_score}")
        self.rescored += 1
        return answer.anomaly_score


def evaluate(
    registry: Registry,
    images: Path,
    version: str,
    against: str | None,
    since: datetime,
    until: datetime,
    only: Collection[str] | None = None,
) -> Evaluation:
    """Judge the recipe's stored parts by a version and another, by the thresholds in force for each.

    only: SHA-256s of frames; a part is looked at when each of its frames is among them.
    """
    mine = deployments.version_of(registry.session, version)
    other = deployments.version_of(registry.session, against or champion(registry, mine.recipe))
    if other.recipe != mine.recipe:
        raise DeploymentRefused(f"{other.id} was made for recipe {other.recipe}, {mine.id} for {mine.recipe}")
    found = Evaluation(mine.id, other.id)
    now_judge, before_judge = Judge(registry, images, mine), Judge(registry, images, other)
    for part in model_versions.stored_parts(registry.session, mine.recipe, mine.id, other.id, since, until):
        if only is not None and not all(view.sha256 in only for view in part.views):
            continue
        try:
            before_score, before = before_judge.judge(part)
            score, now = now_judge.judge(part)
        except InspectionFailed as error:
            found.lost.append({"inspection_id": part.inspection_id, "part_id": part.part_id, "why": str(error)})
            continue
        found.parts += 1
        if now is not before:
            found.changed.append(
                JudgedAnew(
                    inspection_id=part.inspection_id,
                    part_id=part.part_id,
                    station=part.station,
                    triggered_at=part.triggered_at,
                    before_score=before_score,
                    score=score,
                    before=before,
                    now=now,
                    on_record=part.verdict,
                )
            )
    found.rescored = now_judge.rescored + before_judge.rescored
    return found


def champion(registry: Registry, recipe: str) -> str:
    held = deployments.holder(registry.session, recipe, Alias.CHAMPION)
    if held is None:
        raise DeploymentRefused(f"recipe {recipe} has no champion; say --against which version")
    return held.model_version

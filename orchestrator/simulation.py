"""Stored scores judged anew with other thresholds, by the very decision that the line makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from orchestrator.thresholds import Wish, chosen
from storage import thresholds as stored
from storage.events import PredictionFacts, Verdict
from storage.models import ModelVersion
from storage.thresholds import ScoredView, Thresholds
from workers.inference.verdict import decide


@dataclass(frozen=True)
class JudgedPart:
    """A part's verdict on record, and the one it would get now; one that was not scored keeps its ERROR."""

    inspection_id: UUID
    part_id: str | None
    station: str
    recipe: str
    triggered_at: datetime
    model_version: str | None
    anomaly_score: float | None
    then: Verdict
    now: Verdict
    reason: str


@dataclass
class StationTally:
    """How a station's parts were judged then, and how they would be judged now."""

    then: Counter[Verdict] = field(default_factory=Counter)
    now: Counter[Verdict] = field(default_factory=Counter)
    changed: int = 0

    def shown(self, station: str) -> dict[str, Any]:
        counts = {
            name: {verdict.value: tally[verdict] for verdict in Verdict}
            for name, tally in (("then", self.then), ("now", self.now))
        }
        return {"station": station, "parts": self.then.total(), **counts, "changed": self.changed}


@dataclass(frozen=True)
class Simulation:
    """What came of it."""

    thresholds: dict[tuple[str, str], Thresholds]
    stations: dict[str, StationTally]
    changed: list[JudgedPart]

    def shown(self) -> dict[str, Any]:
        used = [
            {"recipe": recipe, "model_version": version, "ok_threshold": limits.ok, "ng_threshold": limits.ng}
            for (recipe, version), limits in sorted(self.thresholds.items())
        ]
        stations = [tally.shown(name) for name, tally in sorted(self.stations.items())]
        return {"thresholds": used, "stations": stations, "changed": [asdict(part) for part in self.changed]}


def simulate(session: Session, since: datetime, until: datetime, wish: Wish, recipe: str | None = None) -> Simulation:
    """Each model version's scores are judged on that version's own scale; without a wish, by what is in force."""
    used: dict[tuple[str, str], Thresholds] = {}

    @cache
    def limits(recipe: str, model_version: str) -> Thresholds:
        version = session.get_one(ModelVersion, model_version)
        found = chosen(version, stored.in_force(session, recipe, version), wish)
        used[recipe, model_version] = found
        return found

    stations: dict[str, StationTally] = {}
    changed: list[JudgedPart] = []
    for views in inspections(session, since, until, recipe):
        part = judged_again(views, limits)
        tally = stations.setdefault(part.station, StationTally())
        tally.then[part.then] += 1
        tally.now[part.now] += 1
        if part.now != part.then:
            tally.changed += 1
            changed.append(part)
    return Simulation(used, stations, changed)


def inspections(session: Session, since: datetime, until: datetime, recipe: str | None) -> Iterator[list[ScoredView]]:
    """The views of each inspection."""
    found = stored.scored_views(session, since, until, recipe)
    return (list(views) for _, views in groupby(found, key=lambda view: view.inspection_id))


def judged_again(views: Sequence[ScoredView], limits: Callable[[str, str], Thresholds]) -> JudgedPart:
    first = views[0]
    scored = [prediction(view, limits) for view in views if view.camera is not None]
    if scored:
        decision = decide(first.inspection_id, scored, first.sample_rate)
        now, reason = decision.verdict, decision.reason
    else:
        now, reason = Verdict(first.verdict), "not scored"
    return JudgedPart(
        inspection_id=first.inspection_id,
        part_id=first.part_id,
        station=first.station,
        recipe=first.recipe,
        triggered_at=first.triggered_at,
        model_version=first.model_version,
        anomaly_score=max((one.anomaly_score for one in scored), default=None),
        then=Verdict(first.verdict),
        now=now,
        reason=reason,
    )


def prediction(view: ScoredView, limits: Callable[[str, str], Thresholds]) -> PredictionFacts:
    """What the verdict needs of it, under the other thresholds; unchecked, as it comes from the records."""
    assert view.model_version is not None, "a scored view names its model"
    ok, ng = limits(view.recipe, view.model_version)
    return PredictionFacts.model_construct(
        camera=view.camera, anomaly_score=view.anomaly_score, ok_threshold=ok, ng_threshold=ng
    )
